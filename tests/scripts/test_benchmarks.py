"""The benchmarks that compute from costs or from a run's metrics, against closed forms."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> ModuleType:
    spec = util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


model = load("cluster_model")
SURE = model.Costs(success=1.0, mean_steps=95.0, std_steps=0.0, requests=3, rollouts=4, weights_s=0.0)
CHUNKS = 10
ROLLOUT_S = 3 * 4 * (CHUNKS * (SURE.inference_s + 2 * SURE.picture_s) + 95 * SURE.step_s)
UPDATE_S = SURE.gradient_steps * SURE.gradient_step_s


def test_one_node_and_one_simulator_take_rollout_and_update_in_turn() -> None:
    found = model.simulate(model.Placement("", 1, 1, has_gpu=True, is_shared=True), 1, SURE, staleness=0)
    assert found.rollout_s == pytest.approx(ROLLOUT_S)
    assert found.iteration_s == pytest.approx(ROLLOUT_S + UPDATE_S)
    assert found.learners_idle == pytest.approx(ROLLOUT_S / (ROLLOUT_S + UPDATE_S))
    stepping = ROLLOUT_S - 3 * 4 * CHUNKS * SURE.inference_s
    assert found.simulators_idle == pytest.approx(1 - stepping / (ROLLOUT_S + UPDATE_S))


@pytest.mark.parametrize("gradient_steps", [1, 1000])
def test_staleness_takes_the_longer_of_rollout_and_update(gradient_steps: int) -> None:
    costs = replace(SURE, gradient_steps=gradient_steps)
    found = model.simulate(model.Placement("", 1, 1, has_gpu=True), 1, costs, staleness=1)
    assert found.iteration_s == pytest.approx(max(ROLLOUT_S, gradient_steps * SURE.gradient_step_s))


def test_simulators_of_a_node_share_a_call_and_a_turn_lasts_as_long_as_its_longest_chunk() -> None:
    turn = SURE.inference_s + 2 * SURE.picture_s
    wall, busy = model.play([5, 10, 10], 2, SURE, has_gpu=True)
    assert wall == pytest.approx(2 * (turn + 10 * SURE.step_s))
    assert busy == pytest.approx(25 * SURE.step_s + 3 * 2 * SURE.picture_s)
    on_cpu, _ = model.play([5, 10, 10], 2, SURE, has_gpu=False)
    assert on_cpu == pytest.approx(wall - 2 * SURE.inference_s + 3 * SURE.cpu_inference_s)


def test_requests_and_updates_are_shared_out() -> None:
    found = model.simulate(model.Placement("", 3, 2, has_gpu=True), 1, SURE, staleness=0)
    assert (found.rollout_s, found.update_s) == pytest.approx((ROLLOUT_S / 3, UPDATE_S / 2))


def write_run(folder: Path, rollout_s: float, **left_out: float) -> Path:
    """Three iterations of rollouts, 10 s of update and 2 s of the rest, an evaluation of 50 s after the second."""
    lines, elapsed = [], 0.0
    for step in (1, 2, 3):
        elapsed += rollout_s + 12.0
        times = {"time/rollout_s": rollout_s, "time/update_s": 10.0, "env_steps": 600.0, "time/elapsed_s": elapsed}
        lines.append({"step": step, "phase": "train", **{k: v for k, v in times.items() if k not in left_out}})
        if step == 2:
            elapsed += 50.0
            lines.append({"step": step, "phase": "eval", "time/elapsed_s": elapsed})
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def iterations(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / "benchmarks/iterations.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def test_iterations_are_split_and_compared_and_evaluations_are_none(tmp_path: Path) -> None:
    done = iterations(write_run(tmp_path / "before", 60.0), write_run(tmp_path / "after", 24.0))
    assert done.stdout.splitlines()[2:] == [
        "| before | 50.0 | 60.0 | 10.0 | 2.0 | 10.0 |",
        "| after | 100.0 | 24.0 | 10.0 | 2.0 | 25.0 |",
        "| after / before | 2.00 × | 0.40 × | 1.00 × | 1.00 × | 2.50 × |",
    ], done.stderr


def test_a_run_without_rollouts_is_refused_in_one_line(tmp_path: Path) -> None:
    run = write_run(tmp_path / "sft", 1.0, env_steps=0.0)
    done = iterations(run)
    assert done.returncode == 2
    assert done.stderr == f"error: {run}/metrics.jsonl: step 1 has no env_steps: a run with rollouts has one\n"


def test_stages_are_compared_on_simulators_that_sleep() -> None:
    small = "--environments 2 --cores 1 --fixed 0 --simulate-s 0.01 --infer-s 0.01 --chunks 1 --repeats 1"
    command = [sys.executable, ROOT / "benchmarks/pipeline.py", *small.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    head, _, row = done.stdout.splitlines()
    assert row.startswith("| 2 | 1 | 0 | ") and row.count("|") == head.count("|")
    refused = subprocess.run([*command, "--stages", "3"], capture_output=True, text=True)
    assert refused.returncode == 2 and "--stages must be from 2 to --environments" in refused.stderr
