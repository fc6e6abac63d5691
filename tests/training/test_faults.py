"""What ends a run from outside: one line, and nothing of what was done is lost."""

import json
import signal
from pathlib import Path
from typing import Any

import failing
import numpy as np
import pytest
import torch
from disks import largest_file
from forked_program import run_program
from planar_run import planar_config
from safetensors.torch import load_file

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.env_runner.runner import Runner
from ript.storage.window_files import read_windows
from ript.training import loop
from ript.training.checkpoint import complete_checkpoints
from ript.training.faults import RunFailed
from ript.training.loop import InputError, run
from ript.training.run_logging import RunLogger

QUIET = ("rollout.enabled=false", "training.n_steps=3", "training.save_interval=1", "training.keep_checkpoints=3")
BREAKING = "algo.env_runner._target_=failing.BreakingRunner"


def steps_saved(run_dir: Path) -> list[int]:
    return [int(path.name[-6:]) for path in complete_checkpoints(run_dir / "checkpoints")]


def lines_of(run_dir: Path, phase: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == phase]


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(complete_checkpoints(run_dir / "checkpoints")[-1] / "policy" / "model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    one, other = weights_of(first), weights_of(second)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("file", ["policy/model.safetensors", "training.pt"])
def test_a_disk_that_is_full_while_a_checkpoint_is_written_costs_that_checkpoint_only(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    save = loop.save_checkpoint

    def save_on_a_full_disk(root: Path, step: int, *args: Any, **options: Any) -> Any:
        if step == 1:
            return save(root, step, *args, **options)
        with largest_file((root / "step_000001" / file).stat().st_size - 1000):
            return save(root, step, *args, **options)

    monkeypatch.setattr(loop, "save_checkpoint", save_on_a_full_disk)
    with pytest.raises(RunFailed, match=r"step_000002 could not be written: .*File too large") as caught:
        run(planar_config(tmp_path / "parts", tiny_policy_folder, *QUIET))
    monkeypatch.undo()
    assert "\n" not in str(caught.value) and "step_000001" in str(caught.value)
    assert [path.name for path in (tmp_path / "parts" / "checkpoints").iterdir()] == ["step_000001"]
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *QUIET, "training.resume=true"))
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *QUIET))
    assert same_weights(tmp_path / "parts", tmp_path / "whole")


def test_a_log_that_cannot_grow_is_named(tmp_path: Path, tiny_policy_folder: Path) -> None:
    log = RunLogger(tmp_path, planar_config(tmp_path, tiny_policy_folder), enabled=True)
    log.log(1, "train", {})
    with largest_file((tmp_path / "metrics.jsonl").stat().st_size + 10):
        with pytest.raises(OSError, match=rf"{tmp_path}/metrics\.jsonl could not be written"):
            log.log(2, "train", {})
        log.close()


def test_a_folder_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    ended = run_program(tmp_path, "paths.output_dir=/proc/x")
    assert ended.exit_code == 2 and "Traceback" not in ended.errors
    (line,) = [line for line in ended.errors.splitlines() if "error:" in line]
    assert "/proc/x" in line


def test_a_truncated_training_state_is_refused_in_one_line(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, *QUIET, "training.n_steps=1"))
    path = complete_checkpoints(tmp_path / "run" / "checkpoints")[-1] / "training.pt"
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=str(path)) as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *QUIET, "training.resume=true"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at_start", [False, True])
def test_a_signal_in_an_evaluation_leaves_it_and_saves(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch, at_start: bool
) -> None:
    played = []

    def interrupt(self: Runner, folder: Path, film: Any, episode: Any) -> None:
        played.append(film.index)
        if len(played) == 1:
            signal.raise_signal(signal.SIGTERM)

    options = ("training.save_interval=100", "rollout.interval=2", f"rollout.at_start={at_start}")
    monkeypatch.setattr(Runner, "save_video", interrupt)
    with pytest.raises(SystemExit) as ended:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *options))
    assert ended.value.code == 143 and len(played) == 1
    assert lines_of(tmp_path / "run", "eval") == []
    assert steps_saved(tmp_path / "run") == ([] if at_start else [2])


def test_a_simulator_that_is_broken_ends_the_run_with_what_was_done_saved(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*QUIET, BREAKING, "training.save_interval=100")
    observe = loop.Diagnostician.observe

    def break_after_two(self: Any, step: int, metrics: Any) -> None:
        observe(self, step, metrics)
        monkeypatch.setattr(failing, "broken", step == 2)

    monkeypatch.setattr(loop.Diagnostician, "observe", break_after_two)
    with pytest.raises(RunFailed, match=r"rank 0: 4 groups in a row failed.* died with exit code -9") as caught:
        run(planar_config(tmp_path / "parts", tiny_policy_folder, *options))
    monkeypatch.undo()
    assert "\n" not in str(caught.value) and "step_000002" in str(caught.value)
    assert steps_saved(tmp_path / "parts") == [2]
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, "training.resume=true"))
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *options))
    assert same_weights(tmp_path / "parts", tmp_path / "whole")


def test_an_evaluation_with_a_broken_simulator_says_what_is_missing(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failing, "broken", True)
    with pytest.raises(RunFailed, match="8 rollouts of the evaluation were not played"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, BREAKING, "algo.eval_only=true"))
    (folder,) = (tmp_path / "evaluations").iterdir()
    (line,) = lines_of(folder, "eval")
    assert (line["rollout_count"], line["rollout_missing"]) == (0, 8)


def test_gradients_that_are_not_finite_end_the_run_with_their_batch_beside_it(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = CFGFlowLoss.__call__

    def spoiled(self: CFGFlowLoss, *args: Any, **options: Any) -> Any:
        terms = call(self, *args, **options)
        return terms._replace(total=terms.total + torch.sqrt(terms.total * 0))

    options = (*QUIET, "algo.num_epochs=2", "algo.enable_dynamic_sampling=false", "algo.advantage_weighting=none")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.cut=1"))
    before = weights_of(tmp_path / "run")
    monkeypatch.setattr(CFGFlowLoss, "__call__", spoiled)
    with pytest.raises(RunFailed, match=r"not finite in 4 steps in a row; the numbers are in (\S+);") as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "training.resume=true"))
    windows, _, _ = read_windows(tmp_path / "run" / "not_finite_rank_0.safetensors")
    assert len(windows) > 0 and "step_000002" in str(caught.value)
    assert lines_of(tmp_path / "run", "train")[-1]["gradient_steps_skipped"] == 2
    after = weights_of(tmp_path / "run")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_rewards_that_are_not_finite_end_the_run_with_their_numbers_beside_it(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    target = "reward_function._target_=failing.NoReward"
    with pytest.raises(RunFailed, match=r"a reward of .* is not finite") as caught:
        run(planar_config(tmp_path / "run", tiny_policy_folder, *QUIET, target))
    assert "no checkpoint had been written" in str(caught.value)
    numbers = load_file(tmp_path / "run" / "not_finite_rank_0.safetensors")
    assert np.isnan(numbers["rewards"].numpy()).all()
