"""What a simulator that breaks down, or gives numbers that are none, costs: its rollouts, and nothing else."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing import BreaksDown, FailingSimulator, ProcessesSimulator, failing_runner
from planar import TASKS

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner import workers
from ript.env_runner.failure import EnvironmentFailure, NotFinite
from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import ChunkResult
from ript.env_runner.workers import WorkerError


def undisturbed(results: list[ChunkResult | None]) -> list[ChunkResult | None]:
    return results


def actions_of(runner: Runner, policy: PI0_OFT_Policy) -> dict[int, bytes]:
    """Index → what was done, of five evaluation rollouts."""
    return {i: e.actions.round(4).tobytes() for i, e in runner.play_evaluation(TASKS[0], policy, range(5))}


@pytest.mark.parametrize("calls", [(0,), (1, 2), (0, 1, 2)])
def test_an_evaluation_plays_what_was_lost_again_with_the_same_result(
    tiny_policy: PI0_OFT_Policy, calls: tuple[int, ...]
) -> None:
    expected = actions_of(failing_runner(undisturbed), tiny_policy)
    runner = failing_runner(BreaksDown(*calls))
    assert actions_of(runner, tiny_policy) == expected and len(expected) == 5
    assert isinstance(runner.simulator, FailingSimulator) and runner.simulator.made == 1 + len(calls)


def test_an_evaluation_whose_simulator_fails_again_and_again_is_left_and_counts_what_was_played(
    tiny_policy: PI0_OFT_Policy, caplog: pytest.LogCaptureFixture
) -> None:
    runner = failing_runner(BreaksDown(*range(2, 50)), rollouts_per_env=6)
    tallies = runner.evaluate(tiny_policy)
    assert {name: tally.n for name, tally in tallies.items()} == {TASKS[0]: 6, TASKS[1]: 0}
    assert "evaluation left after 6 of 12 rollouts: environment worker 0 died" in caplog.text
    assert sum(record.levelname == "WARNING" for record in caplog.records) == 3


@pytest.mark.parametrize("fault", ["die", "hang"])
def test_a_process_that_is_killed_or_hangs_is_replaced(
    tiny_policy: PI0_OFT_Policy,
    tmp_path: Path,
    fault: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "GRACE_S", 0.2)
    runner = Runner(ProcessesSimulator(tmp_path), num_parallel_envs=1, image_size=28, max_episode_length=10)
    runner.create_env(TASKS[0])
    (tmp_path / fault).touch()
    played = [index for index, _ in runner.play_evaluation(TASKS[0], tiny_policy, range(2))]
    runner.close()
    assert played == [0, 1] and not (tmp_path / fault).exists()
    assert ("exit code -9" if fault == "die" else "did not answer within 1 s") in caplog.text


def spoiled(**changes: Any) -> Any:
    """Changes what the first environment gives."""
    return lambda results: [replace(results[0], **changes), *results[1:]]


def nan_in_the_point(results: list[ChunkResult | None]) -> Any:
    assert results[0] is not None
    seen = {step: {**raw, "point": np.array([0.0, np.nan])} for step, raw in results[0].observations.items()}
    return [replace(results[0], observations=seen), *results[1:]]


def nan_in_the_image(results: list[ChunkResult | None]) -> Any:
    assert results[0] is not None
    seen = {step: {**raw, "view": np.full((28, 28, 3), np.inf)} for step, raw in results[0].observations.items()}
    return [replace(results[0], observations=seen), *results[1:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoiled(rewards=np.array([np.nan])), "a reward is not finite at step 0"),
        (nan_in_the_point, "the robot's state is not finite at step 10"),
        (nan_in_the_image, "the image base_0_rgb is not finite at step 10"),
    ],
)
def test_numbers_that_are_not_finite_are_a_failure_of_the_environment(
    tiny_policy: PI0_OFT_Policy, spoil: Any, message: str
) -> None:
    runner = failing_runner(spoil, open_loop=10)
    with pytest.raises(NotFinite, match=message) as caught:
        list(runner.play_evaluation(TASKS[0], tiny_policy, range(4)))
    assert not np.isfinite(caught.value.arrays["not_finite"]).all()
    assert {"image/base_0_rgb", "state/0", "scene_seed"} <= caught.value.arrays.keys()


def test_an_action_that_is_not_finite_never_reaches_the_simulator(
    tiny_policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = tiny_policy.act

    def spoiled_act(*args: Any, **options: Any) -> Any:
        decision = act(*args, **options)
        return decision._replace(actions=decision.actions * np.nan)

    monkeypatch.setattr(tiny_policy, "act", spoiled_act)
    with pytest.raises(NotFinite, match="an action of the policy is not finite at step 0"):
        list(failing_runner(undisturbed).play_evaluation(TASKS[0], tiny_policy, range(4)))


def test_a_failure_is_told_in_one_line() -> None:
    text = "failed in reset:\nTraceback (most recent call last):\n  File x\nRuntimeError: no OpenGL here\n"
    assert WorkerError(2, text).brief == "environment worker 2 failed in reset: RuntimeError: no OpenGL here"
    assert WorkerError(0, "died with exit code -9").brief == "environment worker 0 died with exit code -9"
    assert EnvironmentFailure("").brief == "EnvironmentFailure"


@pytest.mark.parametrize(
    "failure", [WorkerError(2, "died"), NotFinite("a reward", {"rewards": np.array([np.nan])}), EnvironmentFailure("x")]
)
def test_a_failure_crosses_processes(failure: EnvironmentFailure) -> None:
    again = pickle.loads(pickle.dumps(failure))
    assert type(again) is type(failure) and str(again) == str(failure) and again.arrays.keys() == failure.arrays.keys()
    assert getattr(again, "index", None) == getattr(failure, "index", None)
