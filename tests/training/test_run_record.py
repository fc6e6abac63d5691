import json
import logging
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from planar_run import planar_config
from safetensors.torch import load_file

import ript.training.run_record as run_record
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.training.checkpoint import complete_checkpoints
from ript.training.loop import run

REPORT = "logging.report=true"
FAST = ("rollout.enabled=false", "training.save_interval=100")


def lines_of(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(complete_checkpoints(run_dir / "checkpoints")[-1] / "policy" / "model.safetensors")


def starts_of(run_dir: Path) -> list[dict[str, Any]]:
    return json.loads((run_dir / "run.json").read_text())["starts"]


def test_a_run_leaves_a_report_with_its_metrics_and_its_machine(tmp_path: Path, tiny_policy_folder: Path) -> None:
    run(planar_config(tmp_path / "run", tiny_policy_folder, REPORT, "training.n_steps=2"))
    markdown = (tmp_path / "run" / "report.md").read_text()
    lines = lines_of(tmp_path / "run")
    env_steps = sum(line["env_steps"] for line in lines if line["phase"] == "train")
    evaluated = lines[-1]
    assert f"| environment steps | {env_steps:,.0f} |" in markdown
    assert f"| all tasks | {evaluated['success_count']}/{evaluated['rollout_count']} |" in markdown
    assert evaluated["success_count"] == sum(v for k, v in evaluated.items() if k.startswith("success_count/"))
    assert evaluated["rollout_count"] == sum(v for k, v in evaluated.items() if k.startswith("rollout_count/")) == 8
    assert f"no GPU, {len(os.sched_getaffinity(0))} CPU cores" in markdown and f"torch {torch.__version__}" in markdown
    assert all(0.1 < line["memory/cpu_gib"] < 64 for line in lines if line["phase"] == "train")
    assert (tmp_path / "run" / "plots" / "success_env_steps.png").is_file()


def test_a_resumed_run_neither_doubles_nor_resets_time_and_environment_steps(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    run(planar_config(tmp_path / "whole", tiny_policy_folder, *FAST))
    began = time.perf_counter()
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *FAST, "training.cut=2"))
    with (tmp_path / "parts" / "metrics.jsonl").open("a") as log:
        log.write('{"step": 3, "phase": "train", "env_steps": 999999, "time/elapsed_s": 999999}\n{"step": 4, "pha')
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *FAST, REPORT, "training.resume=true"))
    whole, parts = lines_of(tmp_path / "whole"), lines_of(tmp_path / "parts")
    assert [line["env_steps"] for line in parts] == [line["env_steps"] for line in whole]
    elapsed = [line["time/elapsed_s"] for line in parts]
    assert elapsed == sorted(elapsed) and elapsed[2] > elapsed[1] > 0
    assert elapsed[-1] < time.perf_counter() - began
    assert [start["step"] for start in starts_of(tmp_path / "parts")] == [0, 2]
    total = sum(line["env_steps"] for line in whole)
    assert f"| environment steps | {total:,.0f} |" in (tmp_path / "parts" / "report.md").read_text()


def test_an_evaluation_at_the_start_changes_nothing_that_follows(tmp_path: Path, tiny_policy_folder: Path) -> None:
    at_start = ("rollout.at_start=true", "training.rollout_steps=100", "training.n_steps=2")
    run(planar_config(tmp_path / "with", tiny_policy_folder, *at_start, "training.cut=1"))
    run(planar_config(tmp_path / "with", tiny_policy_folder, *at_start, "training.resume=true"))
    run(planar_config(tmp_path / "without", tiny_policy_folder, "rollout.enabled=false", "training.n_steps=2"))
    evaluated = [line["step"] for line in lines_of(tmp_path / "with") if line["phase"] == "eval"]
    assert evaluated == [0, 1, 2]  # the last iteration of each process is always evaluated
    a, b = weights_of(tmp_path / "with"), weights_of(tmp_path / "without")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_an_interrupted_run_has_a_report(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = RolloutGenerator.generate_rollouts

    def interrupted(self: RolloutGenerator, *args: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return generate(self, *args)

    monkeypatch.setattr(RolloutGenerator, "generate_rollouts", interrupted)
    with pytest.raises(SystemExit):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *FAST, REPORT))
    assert "| iterations | 1 of 4 |" in (tmp_path / "run" / "report.md").read_text()


def test_a_run_that_fails_has_a_report_of_what_came_before(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = RolloutGenerator.generate_rollouts

    def failing(self: RolloutGenerator, *args: Any) -> Any:
        if self.iteration == 1:
            raise RuntimeError("the simulator failed")
        return generate(self, *args)

    monkeypatch.setattr(RolloutGenerator, "generate_rollouts", failing)
    with pytest.raises(RuntimeError, match="the simulator failed"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *FAST, REPORT))
    assert "| iterations | 1 of 4 |" in (tmp_path / "run" / "report.md").read_text()


def test_a_report_that_fails_is_logged_and_ends_no_training(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(path: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(run_record, "write_report", failing)
    with caplog.at_level(logging.ERROR):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *FAST, REPORT, "training.n_steps=1"))
    assert "no space left" in caplog.text
    assert complete_checkpoints(tmp_path / "run" / "checkpoints")


def test_videos_lie_in_the_run_and_those_after_the_checkpoint_are_made_again(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    films = (
        "algo.env_runner._target_=planar_evaluation.EvaluationRunner",
        "rollout.n_video=1",
        "training.rollout_steps=1",
        "training.n_steps=2",
    )
    run(planar_config(tmp_path / "run", tiny_policy_folder, *films, "training.cut=1"))
    videos = tmp_path / "run" / "videos"
    assert [folder.name for folder in videos.iterdir()] == ["step_000001"]
    assert len(list((videos / "step_000001").glob("reach_the_*_000_*.mp4"))) == 2
    (videos / "step_000002").mkdir()
    (videos / "step_000002" / "reach_the_top_000_of_a_killed_run.mp4").touch()
    run(planar_config(tmp_path / "run", tiny_policy_folder, *films, "training.resume=true"))
    assert len(list((videos / "step_000002").iterdir())) == 2


def test_a_report_is_written_once_for_the_same_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []
    monkeypatch.setattr(run_record, "write_report", written.append)
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    report = run_record.RunReport(tmp_path, enabled=True)
    report.write()
    report.write()
    assert len(written) == 1
    (tmp_path / "metrics.jsonl").write_text("{}\n{}\n")
    report.write()
    run_record.RunReport(tmp_path, enabled=False).write()
    assert len(written) == 2


def test_every_so_many_iterations_a_group_of_training_is_filmed_and_nothing_else_changes(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    common = (
        "algo.env_runner._target_=planar_evaluation.EvaluationRunner",
        "algo.enable_dynamic_sampling=false",
        "algo.demo_batch_size=3",  # groups that share the environments, and their inferences
        "algo.contexts_per_task=3",
        "algo.num_parallel_envs=3",
        "rollout.enabled=false",
        "training.n_steps=3",
    )
    run(planar_config(tmp_path / "plain", tiny_policy_folder, *common))
    films = ("algo.video_interval=2", "rollout.info_on_video=true")
    run(planar_config(tmp_path / "filmed", tiny_policy_folder, *common, *films))
    assert not (tmp_path / "plain" / "videos").exists()
    videos = sorted((tmp_path / "filmed" / "videos").rglob("*.mp4"))
    assert {str(path.parent.relative_to(tmp_path / "filmed")) for path in videos} == {"videos/step_000002/training"}
    numbers = [re.sub(r".*_(\d{3})_(success|failure)", r"\1", path.stem) for path in videos]
    assert numbers == ["000", "001", "002", "003"]
    before, after = weights_of(tmp_path / "plain"), weights_of(tmp_path / "filmed")
    assert all(torch.equal(before[name], after[name]) for name in before)
