"""Co-training reads demonstrations through the door that SFT uses: LIBERO's files, a folder of them."""

import shutil
from pathlib import Path

import pytest
import torch
from planar import TASKS
from planar_run import planar_config, weights_of

from ript.training.loop import InputError, run

ON = ("algo.enable_sft_co_train=true", "algo.enable_dynamic_sampling=false", "rollout.enabled=false")


def test_a_run_is_co_trained_on_liberos_files(tmp_path: Path, tiny_policy_folder: Path, official_file: Path) -> None:
    folder = tmp_path / "demonstrations"
    folder.mkdir()
    for task in TASKS:
        shutil.copyfile(official_file, folder / f"{task}_demo.hdf5")
    found = []
    for beta in (0, 0.2):
        run_dir = tmp_path / f"beta_{beta}"
        options = (*ON, f"algo.sft_data_path={folder}", f"algo.sft_loss_weight={beta}", "training.n_steps=1")
        run(planar_config(run_dir, tiny_policy_folder, *options))
        found.append((weights_of(run_dir), (run_dir / "metrics.jsonl").read_text()))
    (without, _), (co_trained, metrics) = found
    assert "train/sft_loss" in metrics
    assert any(not torch.equal(without[name], co_trained[name]) for name in without)


@pytest.mark.parametrize("beneath", ["", "empty"])
def test_a_path_without_demonstrations_is_one_line(tmp_path: Path, tiny_policy_folder: Path, beneath: str) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / (beneath or "no_such")
    with pytest.raises(InputError, match=str(path)) as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *ON, f"algo.sft_data_path={path}"))
    assert "\n" not in str(caught.value)
