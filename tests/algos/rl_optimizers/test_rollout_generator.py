import json
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
from ranks import run_ranks
from samples import episode

from ript.algos.rl_optimizers.contexts import ContextLoader, split_contexts
from ript.algos.rl_optimizers.group_source import GroupRequest, LocalGroups
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.demonstrations.reader import Start
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.failure import EnvironmentFailure
from ript.env_runner.vec_env import Chunk, ChunkResult

K = 4


class ScriptedRunner:
    """The runner's interface with outcomes decided by a script: context number → number of successes among K."""

    def __init__(self, successes: dict[int, int], scenes: int = 1, seconds: float = 0.0):
        self.benchmark = planar.PlanarBenchmark()
        self.successes = successes
        self.scenes, self.seconds = scenes, seconds
        self.asked: list[dict[str, Any]] = []
        """What was asked for, group by group."""
        self.groups_at_once: list[int] = []

    def close(self) -> None:
        self.closed = True

    def create_env(self, task_name: str) -> tuple[None, int, int]:
        return None, self.benchmark.get_task_id(task_name), K

    def run_policy_in_env(self, task_name: str, policy: Any, **request: Any) -> Iterator[tuple[bool, float, Episode]]:
        self.groups_at_once.append(len(request["noise_seeds"]) // K)
        task_id = self.benchmark.get_task_id(task_name)
        for first in range(0, len(request["noise_seeds"]), K):
            rows = slice(first, first + K)
            lists = {key: value[rows] for key, value in request.items() if isinstance(value, list)}
            self.asked.append({"task_name": task_name, **request, **lists})
            time.sleep(self.seconds)
            context_id = lists["noise_seeds"][0][2]
            for member in range(K):
                success = member < self.successes.get(context_id, 0)
                record = episode(50, seed=member % self.scenes, success=success, task_id=task_id)
                yield success, record.total_reward, record


def generate(
    runner: ScriptedRunner, groups: int = 2, contexts_per_task: int = 1, **options: Any
) -> tuple[Any, RolloutGenerator]:
    generator = RolloutGenerator(runner, rloo_batch_size=K, demo_batch_size=groups, use_tqdm=False, **options)
    loader = ContextLoader([0, 1], groups, contexts_per_task=contexts_per_task)
    iterator = iter(loader)
    return generator.generate_rollouts(None, next(iterator), iterator, loader), generator


def test_uniform_groups_are_dropped_and_replaced() -> None:
    runner = ScriptedRunner({0: 0, 1: K, 2: 1, 3: 3})
    (episodes, task_ids, valid_mask, checked), _ = generate(runner)
    assert checked == 4
    assert valid_mask.tolist() == [False] * 2 * K + [True] * 2 * K
    assert [e.success for e in episodes].count(True) == K + 1 + 3
    assert task_ids == [0] * K + [1] * K + [0] * K + [1] * K


def test_dynamic_sampling_has_a_bound_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    runner = ScriptedRunner({3: 2})
    with caplog.at_level(logging.WARNING):
        (_, _, valid_mask, checked), _ = generate(runner, max_groups_per_step=6)
    assert checked == 6
    assert valid_mask.sum() == K
    assert "6 groups tried, 1 of 2 accepted" in caplog.text


def test_a_rank_whose_contexts_are_all_solved_returns_nothing_to_learn_from() -> None:
    runner = ScriptedRunner(dict.fromkeys(range(100), K))
    (episodes, _, valid_mask, checked), _ = generate(runner)
    assert checked == 8  # 4 × demo_batch_size
    assert len(episodes) == 8 * K and not valid_mask.any()


def test_without_dynamic_sampling_every_group_counts() -> None:
    (_, _, valid_mask, checked), _ = generate(ScriptedRunner({}), enable_dynamic_sampling=False)
    assert checked == 2 and valid_mask.all()


def test_an_early_stop_threshold_is_at_least_one_group() -> None:
    runner = ScriptedRunner(dict.fromkeys(range(9), 1))
    (_, _, valid_mask, checked), generator = generate(runner, early_stop_percentage=0.4)
    assert generator.early_stop_threshold == 1  # int(2 · 0.4) = 0 would return at once with nothing
    assert checked == 1 and valid_mask.sum() == K


def test_members_of_a_group_share_the_scene_and_differ_in_noise() -> None:
    runner = ScriptedRunner({0: 1, 1: 1})
    generate(runner)
    for request in runner.asked:
        assert len(set(request["scene_seeds"])) == 1
        assert len({tuple(seed) for seed in request["noise_seeds"]}) == K
    assert runner.asked[0]["scene_seeds"] != runner.asked[1]["scene_seeds"]


def test_a_group_rolled_out_in_different_scenes_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="in 2 scenes"):
        generate(ScriptedRunner({}, scenes=2))


def test_two_iterations_never_repeat_the_noise() -> None:
    runner = ScriptedRunner({})
    _, generator = generate(runner)
    batch = next(iter(ContextLoader([0, 1], 2)))
    generator.generate_rollouts(None, batch, iter(()), None)
    seeds = [tuple(seed) for request in runner.asked for seed in request["noise_seeds"]]
    assert len(seeds) == len(set(seeds))


def states_asked(groups: int, **options: Any) -> list[tuple[str, Any]]:
    """Task and initial state of each group tried."""
    runner = ScriptedRunner({}, scenes=1)
    generate(runner, groups=groups, max_groups_per_step=groups, **options)
    return [(request["task_name"], request["all_init_states"][0]) for request in runner.asked]


def test_evaluation_states_are_used_only_when_asked_for() -> None:
    assert all(state is None for _, state in states_asked(4))
    mixed = states_asked(8, use_val_init=True, mix_val_init_in_rloo=True)
    assert [state is None for _, state in mixed] == [False, False, True, True] * 2  # each task, every other visit


@pytest.mark.parametrize("options", [{}, {"mix_val_init_in_rloo": True}])
def test_each_task_goes_through_all_of_its_evaluation_states(options: dict[str, bool]) -> None:
    evaluation = planar.PlanarBenchmark().get_task_init_states(0)
    groups = 2 * len(evaluation) * (2 if options else 1)
    for task in planar.TASKS:
        asked = states_asked(groups, use_val_init=True, **options)
        states = [state for name, state in asked if name == task and state is not None]
        np.testing.assert_array_equal(np.stack(states), evaluation)


def test_contexts_of_other_tasks_are_left_out() -> None:
    runner = ScriptedRunner({})
    generate(runner, task_names_to_use=[planar.TASKS[1]])
    assert {request["task_name"] for request in runner.asked} == {planar.TASKS[1]}


def test_demonstration_states_reach_the_simulator_in_float64() -> None:
    runner = ScriptedRunner({})
    state = np.array([1.0 + 1e-12, 2.0])
    loader = ContextLoader([0], 1, starts={0: [Start(state)]})
    generator = RolloutGenerator(runner, rloo_batch_size=K, demo_batch_size=1, use_tqdm=False, max_groups_per_step=1)
    generator.generate_rollouts(None, next(iter(loader)), None, None)
    np.testing.assert_array_equal(runner.asked[0]["all_init_states"], np.stack([state] * K))


def test_an_exhausted_loader_returns_the_partial_batch() -> None:
    batch = next(iter(ContextLoader([0], 1)))
    generator = RolloutGenerator(ScriptedRunner({0: 1}), rloo_batch_size=K, demo_batch_size=3, use_tqdm=False)
    _, _, valid_mask, checked = generator.generate_rollouts(None, batch, iter(()), None)
    assert checked == 1 and valid_mask.sum() == K


def test_rollout_statistics_are_saved_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    options = {"rollout_stats_path": str(path), "enable_rollout_stats_tracking": True, "max_groups_per_step": 2}
    generate(ScriptedRunner({0: 1, 1: 2}), **options)
    assert json.loads(path.read_text()) == {"scene 0": [3, 2 * K]}
    _, generator = generate(ScriptedRunner({0: 1, 1: 2}), **options)
    assert generator.rollout_stats.scenes == {"scene 0": [6, 4 * K]}


def test_damaged_statistics_are_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stats.json"
    path.write_text("{")
    with pytest.raises(ValueError, match=str(path)):
        generate(ScriptedRunner({}), rollout_stats_path=str(path), enable_rollout_stats_tracking=True)


class LengthReward:
    """The longer, the better; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def compute_reward(self, i: int, episode: Episode, batch: Any) -> float:
        self.asked.append((episode.episode_id >> 16, i, int(batch["context_id"][i])))
        return float(episode.episode_id % 2)


def test_a_group_is_mixed_when_its_rewards_differ_whatever_its_successes() -> None:
    runner, loader = ScriptedRunner({0: K, 1: 0}), ContextLoader([0, 1], 2)
    generator = RolloutGenerator(runner, rloo_batch_size=K, demo_batch_size=2, use_tqdm=False)
    iterator = iter(loader)
    episodes, _, valid_mask, _ = generator.generate_rollouts(None, next(iterator), iterator, loader, LengthReward())
    assert valid_mask.all() and {e.score for e in episodes} == {0.0, 1.0}


def test_a_reward_gets_the_batch_and_row_of_its_own_context() -> None:
    reward, loader = LengthReward(), ContextLoader([0, 1], 1)
    generator = RolloutGenerator(ScriptedRunner({}), rloo_batch_size=K, demo_batch_size=3, use_tqdm=False)
    iterator = iter(loader)
    generator.generate_rollouts(None, next(iterator), iterator, loader, reward)
    assert {own for own, _, _ in reward.asked} == {0, 1, 2}
    assert all(own == seen for own, _, seen in reward.asked)


def test_contexts_that_were_not_played_come_first_next_time() -> None:
    runner = ScriptedRunner({1: 1, 2: 1, 3: 1, 4: 1, 5: 1})
    generator = RolloutGenerator(runner, rloo_batch_size=K, demo_batch_size=2, use_tqdm=False)
    loader = ContextLoader([0, 1], 2)
    iterator = iter(loader)
    for _ in range(2):
        generator.generate_rollouts(None, next(iterator), iterator, loader)
    assert [request["noise_seeds"][0][2] for request in runner.asked] == [0, 1, 2, 3, 4]


def tried_with_early_stop(distributed: Distributed, slow_rank: int) -> tuple[list[int], int]:
    """Contexts that this rank tried, one rank being slower than the other, and accepted groups of both."""
    runner = ScriptedRunner(dict.fromkeys(range(100), 1), seconds=0.2 if distributed.rank == slow_rank else 0.0)
    generator = RolloutGenerator(
        runner, rloo_batch_size=K, demo_batch_size=4, early_stop_percentage=0.5, use_tqdm=False, distributed=distributed
    )
    loader = ContextLoader([0], 4, distributed=distributed)
    _, _, valid_mask, _ = generator.generate_rollouts(None, next(iter(loader)), iter(loader), loader)
    accepted = distributed.sum({"accepted": valid_mask.sum() / K})["accepted"]
    return [request["noise_seeds"][0][2] for request in runner.asked], int(accepted)


def test_an_early_stop_counts_all_ranks_and_does_not_depend_on_their_speed() -> None:
    first, second = (run_ranks(tried_with_early_stop, 2, slow) for slow in (0, 1))
    assert first == second == [([0, 1], 4), ([4, 5], 4)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stop_percentage": 1.5}, "early_stop_percentage"),
        ({"max_groups_per_step": 1}, "max_groups_per_step"),
        ({"mix_val_init_in_rloo": True}, "use_val_init"),
        ({"enable_rollout_stats_tracking": True}, "rollout_stats_path"),
        ({"task_names_to_use": ["reach_the_rigth"]}, "reach_the_rigth"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(ScriptedRunner({}), **options)


class BreakingRunner(ScriptedRunner):
    """The simulator dies in these contexts."""

    def __init__(self, *broken: int):
        super().__init__(dict.fromkeys(range(100), 1))
        self.broken = broken

    def run_policy_in_env(self, task_name: str, policy: Any, **request: Any) -> Iterator[tuple[bool, float, Episode]]:
        for number, rollout in enumerate(super().run_policy_in_env(task_name, policy, **request)):
            context_id = request["noise_seeds"][number][2]
            if number % K == 2 and context_id in self.broken:
                raise EnvironmentFailure(f"died in context {context_id}")
            yield rollout


@pytest.mark.parametrize("broken", [(0,), (1, 2), (0, 1, 2)])
def test_a_group_in_which_the_simulator_dies_is_replaced_and_the_others_are_as_without_it(
    broken: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    runner = BreakingRunner(*broken)
    (episodes, _, valid_mask, checked), _ = generate(runner, groups=2)
    kept = [number for number in range(5) if number not in broken][:2]
    assert checked == 2 and valid_mask.tolist() == [True] * 2 * K
    assert [episode.episode_id >> 16 for episode in episodes] == sorted(kept * K)
    assert [r.getMessage()[:20] for r in caplog.records] == [f"context {n} is dropped"[:20] for n in broken if n < 4]
    whole = ScriptedRunner(dict.fromkeys(range(100), 1))
    generate(whole, groups=5)
    by_context = {request["noise_seeds"][0][2]: request for request in whole.asked}
    assert all(request == by_context[request["noise_seeds"][0][2]] for request in runner.asked)


def test_groups_of_a_task_are_played_at_the_same_time_as_many_as_are_certainly_needed() -> None:
    runner = ScriptedRunner({0: 1, 1: 0, 2: 2, 3: K, 4: 3, 5: 1, 6: 0, 7: 2})
    (episodes, _, valid_mask, checked), _ = generate(runner, groups=4, contexts_per_task=8)
    assert runner.groups_at_once == [4, 2]
    assert checked == 6 and valid_mask.tolist() == np.repeat([True, False, True, False, True, True], K).tolist()
    assert [episode.episode_id >> 16 for episode in episodes[::K]] == list(range(6))


def test_with_an_early_stop_or_for_two_tasks_groups_are_played_one_by_one() -> None:
    mixed = dict.fromkeys(range(8), 1)
    runner = ScriptedRunner(mixed)
    generate(runner, groups=4, contexts_per_task=8, early_stop_percentage=0.9)
    assert set(runner.groups_at_once) == {1}
    runner = ScriptedRunner(mixed)
    generate(runner, groups=4, contexts_per_task=1)
    assert runner.groups_at_once == [1] * 4


@pytest.mark.parametrize("broken", [(0,), (1, 2), (3,)])
def test_of_groups_played_together_only_the_broken_one_is_dropped(
    broken: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    runner = BreakingRunner(*broken)
    (episodes, _, _, checked), _ = generate(runner, groups=4, contexts_per_task=8)
    kept = [number for number in range(8) if number not in broken][:4]
    assert checked == 4 and [episode.episode_id >> 16 for episode in episodes[::K]] == kept
    dropped = [r.getMessage() for r in caplog.records if "is dropped" in r.getMessage()]
    assert [message.split()[1] for message in dropped] == [str(n) for n in broken]


def test_a_simulator_that_dies_again_and_again_ends_the_step_and_the_loader_is_where_it_was() -> None:
    generator = RolloutGenerator(BreakingRunner(*range(1, 9)), rloo_batch_size=K, demo_batch_size=2, use_tqdm=False)
    loader = ContextLoader([0, 1], 2)
    before = loader.state_dict()
    iterator = iter(loader)
    with pytest.raises(EnvironmentFailure, match="rank 0: 4 groups in a row failed, the last: died in context 4"):
        generator.generate_rollouts(None, next(iterator), iterator, loader)
    assert generator.iteration == 0
    played = ContextLoader([0, 1], 2)
    played.load_state_dict(loader.state_dict())
    fresh = ContextLoader([0, 1], 2)
    fresh.load_state_dict(before)
    assert [next(iter(played))["context_id"].tolist() for _ in range(4)] == [
        next(iter(fresh))["context_id"].tolist() for _ in range(4)
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_not_finite_drops_the_group_and_then_ends_the_step(value: float) -> None:
    class Reward:
        def compute_reward(self, i: int, episode: Episode, batch: Any) -> float:
            return value if episode.episode_id % 2 else 0.0

    loader = ContextLoader([0, 1], 2)
    generator = RolloutGenerator(ScriptedRunner({}), rloo_batch_size=K, demo_batch_size=2, use_tqdm=False)
    with pytest.raises(EnvironmentFailure, match="a reward of reach_the_top is not finite") as caught:
        generator.generate_rollouts(None, next(iter(loader)), iter(loader), loader, Reward())
    assert not np.isfinite(caught.value.arrays["rewards"]).all()


def ends_with(distributed: Distributed, early_stop: float) -> str:
    """What a rank raises whose partner's simulator is broken."""
    runner = BreakingRunner(*(range(1000) if distributed.rank == 1 else ()))
    generator = RolloutGenerator(
        runner,
        rloo_batch_size=K,
        demo_batch_size=2,
        early_stop_percentage=early_stop,
        use_tqdm=False,
        distributed=distributed,
    )
    loader = ContextLoader([0, 1], 2, distributed=distributed)
    try:
        generator.generate_rollouts(None, next(iter(loader)), iter(loader), loader)
    except EnvironmentFailure as failure:
        return str(failure)
    return "nothing"


@pytest.mark.parametrize("early_stop", [1.0, 0.9])
def test_all_ranks_end_together_when_the_simulator_of_one_is_broken(early_stop: float) -> None:
    first, second = run_ranks(ends_with, 2, early_stop)
    assert first == second and first.startswith("rank 1: 4 groups in a row failed, the last: died in context")


def test_the_real_runner_keeps_a_group_in_one_scene(tiny_policy: Any) -> None:
    generator = RolloutGenerator(planar.planar_runner(), rloo_batch_size=8, demo_batch_size=2, use_tqdm=False)
    batch = next(iter(ContextLoader([0, 1], 2)))
    episodes, _, _, _ = generator.generate_rollouts(tiny_policy, batch, iter(()), None)
    for group, context in zip(np.array_split(np.array(episodes, object), 2), split_contexts(batch), strict=True):
        assert len({e.init_hash for e in group}) == 1
        assert {e.task_id for e in group} == {context.task_id}
        assert len({e.actions.tobytes() for e in group}) == 8
    assert len(list(islice(episodes, 20))) == 16


class CountingVecEnv(planar.PlanarVecEnv):
    """Counts chunks that were played, and those that an environment sat out."""

    played = idle = 0

    def step_chunk(self, chunks: Sequence[Chunk | None]) -> list[ChunkResult | None]:
        type(self).idle += sum(chunk is None for chunk in chunks)
        type(self).played += sum(chunk is not None for chunk in chunks)
        return super().step_chunk(chunks)


def idle_share(policy: Any, monkeypatch: pytest.MonkeyPatch, early_stop: float) -> tuple[float, list[bytes]]:
    """Of three environments that play six groups of four; and the episodes."""
    counting = type("Counting", (CountingVecEnv,), {})
    monkeypatch.setattr(planar, "PlanarVecEnv", counting)
    runner = planar.planar_runner(num_parallel_envs=3)
    generator = RolloutGenerator(
        runner, K, demo_batch_size=6, use_tqdm=False, enable_dynamic_sampling=False, early_stop_percentage=early_stop
    )
    batch = next(iter(ContextLoader([0], 6)))
    episodes, _, _, _ = generator.generate_rollouts(policy, batch, iter(()), None)
    return counting.idle / (counting.idle + counting.played), [e.init_hash.encode() for e in episodes]


def test_environments_idle_less_when_groups_are_played_together(
    tiny_policy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one, first = idle_share(tiny_policy, monkeypatch, early_stop=0.999)
    together, second = idle_share(tiny_policy, monkeypatch, early_stop=1.0)
    assert len(first) == 20 and second[:20] == first  # an early stop leaves the last group out
    assert together < 0.1 < 0.25 < one_by_one


class ExpectingGroups(LocalGroups):
    """Remembers what it was told, in order."""

    staleness = 1

    def __init__(self, runner: Any):
        super().__init__(runner)
        self.told: list[tuple[str, Any]] = []

    def act_with(self, actor: Any, iteration: int) -> None:
        super().act_with(actor, iteration)
        self.told.append(("acts", iteration))

    def expect(self, requests: Sequence[GroupRequest]) -> None:
        self.told.append(("expected", [(request.iteration, request.context_ids) for request in requests]))


@pytest.mark.parametrize("contexts_per_task", [1, 2])
def test_with_staleness_the_next_iteration_asks_first_for_what_was_begun(contexts_per_task: int) -> None:
    source = ExpectingGroups(ScriptedRunner({0: 1, 1: 1, 3: 1, 4: 1}))
    generator = RolloutGenerator(source._runner, K, demo_batch_size=2, use_tqdm=False, group_source=source)
    loader = ContextLoader([0, 1], 2, contexts_per_task=contexts_per_task)
    iterator = iter(loader)
    generator.generate_rollouts(None, next(iterator), iterator, loader)
    source.told.clear()
    generator.begin_next(None, loader)
    begun = list(source.told)
    source.told.clear()
    generator.generate_rollouts(None, next(iterator), iterator, loader)
    assert begun == source.told[:2]
    assert [begun[0], begun[1][1][0][0]] == [("acts", 1), 1] and len(source.told) == 3  # context 2 is replaced
