from pathlib import Path

import pytest
import torch
from planar_run import planar_config
from safetensors.torch import load_file

from ript.training.checkpoint import complete_checkpoints, load_state
from ript.training.loop import run
from ript.training.raw_weights import main

SHORT = ("training.n_steps=1", "rollout.enabled=false", "algo.enable_dynamic_sampling=false")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | load_file(folder / "condition.safetensors")


def test_an_iteration_without_average_ends_with_the_raw_weights_of_one_with_it(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    run(planar_config(tmp_path / "averaged", tiny_policy_folder, *SHORT, "algo.ema_decay=0.9"))
    run(planar_config(tmp_path / "plain", tiny_policy_folder, *SHORT))
    averaged, plain = (complete_checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("averaged", "plain"))
    main([str(averaged), str(tmp_path / "raw")])
    raw, trained, average = (weights(folder) for folder in (tmp_path / "raw", plain / "policy", averaged / "policy"))
    assert all(torch.equal(raw[name], trained[name]) for name in trained)
    assert any(not torch.equal(raw[name], average[name]) for name in raw)


def test_a_checkpoint_without_average_is_refused(
    tmp_path: Path, tiny_policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(planar_config(tmp_path / "plain", tiny_policy_folder, *SHORT))
    (checkpoint,) = complete_checkpoints(tmp_path / "plain" / "checkpoints")
    assert load_state(checkpoint)["learner"]["average"] is None
    with pytest.raises(SystemExit) as ended:
        main([str(checkpoint), str(tmp_path / "raw")])
    assert ended.value.code == 2 and "has no moving average" in capsys.readouterr().err
