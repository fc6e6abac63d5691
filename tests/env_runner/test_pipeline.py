"""Stages of environments that take turns: the same episodes as without, whatever the timing, and real overlap."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import planar
import pytest
import torch
from plane import MeetingPlane, UnevenPlane, wait_for

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner import workers
from ript.env_runner.episode import Episode
from ript.env_runner.runner import Runner
from ript.env_runner.workers import EnvPool

TASK = planar.TASKS[0]
SHORT_CHUNKS = {"open_loop": 20, "max_episode_length": 60}


@pytest.fixture
def policy(tiny_policy_folder: Path) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), num_steps=2)


class InProcesses(planar.PlanarSimulator):
    """Planes in processes of their own."""

    def __init__(self, make_plane: Callable[[int], Any]):
        self.make_plane = make_plane

    def make_vec_env(self, task_id: int, num_envs: int, *rest: Any) -> Any:
        return EnvPool(partial(self.make_plane, task_id), num_envs)


@contextlib.contextmanager
def in_processes(make_plane: Callable[[int], Any], **options: Any) -> Iterator[Runner]:
    """The runner on them."""
    runner = Runner(InProcesses(make_plane), **{"image_size": planar.IMAGE_SIZE, **SHORT_CHUNKS, **options})
    try:
        yield runner
    finally:
        runner.close()


def bytes_of(episode: Episode) -> tuple[Any, ...]:
    seen = [(step, view["state"].tobytes()) for step, view in episode.observations.items()]
    decided = [(decision.points, decision.value) for decision in episode.decisions]
    actions = (episode.actions.tobytes(), episode.actions_normalized.tobytes(), episode.rewards.tobytes())
    return episode.init_hash, *actions, seen, decided


def played(runner: Runner, policy: Any, count: int = 9) -> dict[int, tuple[Any, ...]]:
    """Index → bytes, in the order in which episodes ended."""
    return {index: bytes_of(episode) for index, episode in runner.play_evaluation(TASK, policy, range(count))}


def act_row_by_row(policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes its numbers independent of the batch."""
    act = policy.act

    def alone(observation: Any, noise: Any, generators: Sequence[Any], **options: Any) -> Any:
        rows = [
            act(
                {name: _row(column, i) for name, column in observation.items()},
                noise[i : i + 1],
                [generator],
                **options,
            )
            for i, generator in enumerate(generators)
        ]
        return rows[0]._replace(actions=torch.cat([row.actions for row in rows]))

    monkeypatch.setattr(policy, "act", alone)


def _row(column: Any, i: int) -> Any:
    return {name: _row(part, i) for name, part in column.items()} if isinstance(column, dict) else column[i : i + 1]


def inferences(policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch) -> list[list[bytes]]:
    """Which rollouts, told by their noise, every inference is of."""
    recorded: list[list[bytes]] = []
    act = policy.act

    def recording(observation: Any, noise: Any, **options: Any) -> Any:
        recorded.append([row.numpy().tobytes() for row in noise])
        return act(observation, noise=noise, **options)

    monkeypatch.setattr(policy, "act", recording)
    return recorded


def test_two_stages_of_one_environment_play_what_one_environment_does(policy: PI0_OFT_Policy) -> None:
    alone = played(planar.planar_runner(num_parallel_envs=1, **SHORT_CHUNKS), policy)
    staged = played(planar.planar_runner(num_parallel_envs=2, pipeline_stage_num=2, **SHORT_CHUNKS), policy)
    assert staged == alone and len(alone) == 9
    assert len({len(episode[1]) for episode in alone.values()}) > 1, "all rollouts are of the same length"


@pytest.mark.parametrize(("environments", "stages", "count"), [(4, 2, 9), (5, 3, 9), (3, 3, 9), (4, 4, 2), (4, 2, 0)])
def test_without_rounding_an_episode_does_not_depend_on_stages(
    policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch, environments: int, stages: int, count: int
) -> None:
    act_row_by_row(policy, monkeypatch)
    alone = played(planar.planar_runner(num_parallel_envs=1, **SHORT_CHUNKS), policy, count)
    options = {"num_parallel_envs": environments, "pipeline_stage_num": stages, **SHORT_CHUNKS}
    staged = played(planar.planar_runner(**options), policy, count)
    assert staged == alone and len(alone) == count


def test_few_rollouts_are_spread_over_the_stages(policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = inferences(policy, monkeypatch)
    played(planar.planar_runner(num_parallel_envs=16, pipeline_stage_num=2, max_episode_length=50), policy, 4)
    assert [len(batch) for batch in recorded] == [2, 2]


def test_simulators_of_any_speed_give_the_same_bytes_in_the_same_order_from_the_same_batches(
    policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded = inferences(policy, monkeypatch)
    options = {"num_parallel_envs": 4, "pipeline_stage_num": 2, **SHORT_CHUNKS}
    in_step = played(planar.planar_runner(**options), policy, 12)
    batches = recorded.copy()
    with in_processes(partial(UnevenPlane, tmp_path), **options) as runner:
        for _ in range(2):
            recorded.clear()
            again = played(runner, policy, 12)
            assert recorded == batches and list(again.items()) == list(in_step.items())


class SecondInference:
    """Replaces `act`: the second call is `meet(act)`."""

    def __init__(self, policy: PI0_OFT_Policy, meet: Callable[[], None]):
        self.act, self.meet, self.calls = policy.act, meet, 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 2:
            self.meet()
        return self.act(*args, **options)


def test_the_policy_infers_while_the_other_stage_steps(
    policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second inference and the first chunk both wait for each other."""
    monkeypatch.setattr(workers, "GRACE_S", 0.2)

    def meet() -> None:
        wait_for(tmp_path / "stepping")
        (tmp_path / "inferring").touch()

    monkeypatch.setattr(policy, "act", SecondInference(policy, meet))
    with in_processes(partial(MeetingPlane, tmp_path), num_parallel_envs=2, pipeline_stage_num=2) as runner:
        pool = runner.create_env(TASK)[0]
        assert len(played(runner, policy, 2)) == 2
        assert not pool.is_closed, "a chunk waited in vain, and was played again"


@pytest.mark.parametrize("killed", [0, 1])
def test_a_simulator_that_is_killed_while_another_steps_is_replaced_and_its_rollouts_are_the_same(
    policy: PI0_OFT_Policy,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    killed: int,
) -> None:
    """At the second inference 0 steps, and 1 is about to be asked."""
    options = {"num_parallel_envs": 2, "pipeline_stage_num": 2}
    expected = played(planar.planar_runner(**options, **SHORT_CHUNKS), policy, 3)

    def kill() -> None:
        wait_for(tmp_path / "stepping")
        process = pool._processes[killed]
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        (tmp_path / "inferring").touch()

    monkeypatch.setattr(policy, "act", SecondInference(policy, kill))
    with in_processes(partial(MeetingPlane, tmp_path), **options) as runner:
        pool: Any = runner.create_env(TASK)[0]
        assert played(runner, policy, 3) == expected
    assert pool.is_closed and f"environment worker {killed} died with exit code -9" in caplog.text


class ClosableVecEnv(planar.PlanarVecEnv):
    """Remembers whether it was closed."""

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("stages", [1, 2])
def test_leaving_while_simulators_step_closes_them(
    policy: PI0_OFT_Policy, monkeypatch: pytest.MonkeyPatch, stages: int
) -> None:
    """With one stage none steps when an episode is handed out, and the same environments serve whoever plays next."""
    monkeypatch.setattr(planar, "PlanarVecEnv", ClosableVecEnv)
    runner = planar.planar_runner(num_parallel_envs=2, pipeline_stage_num=stages, max_episode_length=10)
    pool = runner.create_env(TASK)[0]
    rollouts = runner.play_evaluation(TASK, policy, range(4))
    next(rollouts)
    rollouts.close()  # type: ignore[attr-defined]
    assert pool.is_closed == (stages == 2)
    assert (runner.create_env(TASK)[0] is pool) == (stages == 1)


@pytest.mark.parametrize("stages", [3, 0, 1.5, 2.0, None])
def test_a_number_of_stages_that_cannot_be_is_refused_by_name(stages: Any) -> None:
    with pytest.raises(ValueError, match=f"^pipeline_stage_num={stages} is not valid: must be a") as caught:
        planar.planar_runner(num_parallel_envs=2, pipeline_stage_num=stages)
    assert "\n" not in str(caught.value)
