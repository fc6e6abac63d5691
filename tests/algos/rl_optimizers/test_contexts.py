from itertools import islice
from typing import Any

import numpy as np
import pytest
from ranks import run_ranks

from ript.algos.rl_optimizers.contexts import LAYOUT_SEED, Context, ContextLoader, collate_contexts, split_contexts
from ript.demonstrations.reader import Start
from ript.distributed import Distributed


def contexts_of(loader: ContextLoader, batches: int) -> list[Context]:
    return [context for batch in islice(loader, batches) for context in split_contexts(batch)]


def test_a_batch_keeps_float64_states_of_different_widths() -> None:
    states = [np.random.default_rng(0).normal(size=width) for width in (79, 92)]
    contexts = [Context(0, 1, 7, states[0]), Context(1, 2, 8, states[1]), Context(2, 0, 9, None)]
    batch = collate_contexts(contexts)
    assert batch["init_state"]["states"].shape == (3, 1, 92)
    for before, after in zip(contexts, split_contexts(batch), strict=True):
        assert (before.context_id, before.task_id, before.scene_seed) == (
            after.context_id,
            after.task_id,
            after.scene_seed,
        )
        if before.init_state is None:
            assert after.init_state is None
        else:
            np.testing.assert_array_equal(before.init_state, after.init_state)


def test_ranks_draw_different_contexts_that_together_are_those_of_one_rank() -> None:
    alone = {c.context_id: c.scene_seed for c in contexts_of(ContextLoader([0, 1, 2], 4), 6)}
    parts = [
        {
            c.context_id: c.scene_seed
            for c in contexts_of(ContextLoader([0, 1, 2], 2, distributed=Distributed(rank, 2)), 6)
        }
        for rank in range(2)
    ]
    assert not parts[0].keys() & parts[1].keys()
    assert parts[0] | parts[1] == alone


def test_more_ranks_than_tasks_and_batches_larger_than_the_data_work() -> None:
    starts = {5: [Start(state) for state in np.arange(6.0).reshape(2, 3)]}
    contexts = contexts_of(ContextLoader([5], 7, starts=starts, distributed=Distributed(3, 4)), 2)
    assert len(contexts) == 14
    assert {c.task_id for c in contexts} == {5}


def test_a_task_stays_for_as_many_contexts_as_asked_for() -> None:
    loader = ContextLoader([3, 7], 2, contexts_per_task=4)
    assert [c.task_id for c in contexts_of(loader, 6)] == [3] * 4 + [7] * 4 + [3] * 4
    starts = {task: [Start(np.array([float(i)])) for i in range(8)] for task in (3, 7)}
    contexts = contexts_of(ContextLoader([3, 7], 4, starts=starts, contexts_per_task=4), 4)
    for task in starts:
        seen = [float(c.init_state[0]) for c in contexts if c.task_id == task and c.init_state is not None]
        assert sorted(seen) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_each_demonstration_start_is_used_once_per_epoch() -> None:
    starts = {0: [Start(np.array([float(i)])) for i in range(5)]}
    contexts = contexts_of(ContextLoader([0], 5, starts=starts), 3)
    for epoch in range(3):
        seen = [float(c.init_state[0]) for c in contexts[5 * epoch : 5 * epoch + 5] if c.init_state is not None]
        assert sorted(seen) == [0, 1, 2, 3, 4]


def test_a_demonstration_brings_its_scene_and_official_ones_without_it_get_one() -> None:
    starts = {0: [Start(np.zeros(1), scene_seed=77), Start(np.ones(1))]}
    seeds = {float(c.init_state[0]): c.scene_seed for c in contexts_of(ContextLoader([0], 2, starts=starts), 1)}
    assert seeds[0.0] == 77 and seeds[1.0] >= LAYOUT_SEED


def test_the_stream_goes_on_where_it_was_saved() -> None:
    def drawn(loader: ContextLoader, batches: int) -> list[tuple[int, int]]:
        return [(c.context_id, c.scene_seed) for c in contexts_of(loader, batches)]

    uninterrupted = drawn(ContextLoader([0, 1], 3, seed=4), 4)
    first, second = ContextLoader([0, 1], 3, seed=4), ContextLoader([0, 1], 3, seed=4)
    before = drawn(first, 2)
    second.load_state_dict(first.state_dict())
    assert before + drawn(second, 2) == uninterrupted


def played(distributed: Distributed, batches: list[int], state: Any = None) -> Any:
    """What each rank plays of so many batches, giving back the last context of each; and the queue that is left."""
    loader = ContextLoader([0, 1, 2], 2, seed=4, distributed=distributed)
    if state is not None:
        loader.load_state_dict(state)
    found = []
    for batch in islice(loader, batches[distributed.rank]):
        first, last = split_contexts(batch)
        found.append((first.context_id, first.task_id, first.scene_seed))
        loader.put_back([last])
    return found, loader.state_dict()


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 2)])
def test_no_context_is_lost_or_repeated_when_the_number_of_ranks_changes(before: int, after: int) -> None:
    uneven = [3, 1]  # as with dynamic sampling
    parts = run_ranks(played, before, uneven) if before > 1 else [played(Distributed(), uneven)]
    states = [state for _, state in parts]
    assert all(state == states[0] for state in states)
    later = run_ranks(played, after, [9, 9], states[0]) if after > 1 else [played(Distributed(), [9], states[0])]
    seen = [context_id for found, _ in (*parts, *later) for context_id, _, _ in found]
    assert len(seen) == len(set(seen))
    left = later[0][1]
    assert sorted([*seen, *left["waiting"]]) == list(range(left["fresh"]))


def test_a_position_of_an_earlier_version_is_understood() -> None:
    loader = ContextLoader([0, 1], 3)
    loader.load_state_dict({"position": 2, "world_size": 4})
    assert [c.context_id for c in contexts_of(loader, 1)] == [24, 25, 26]


def test_training_scenes_are_not_evaluation_scenes() -> None:
    assert min(c.scene_seed for c in contexts_of(ContextLoader([0], 50), 4)) >= LAYOUT_SEED


def test_no_task_is_an_error() -> None:
    with pytest.raises(ValueError, match="no task"):
        ContextLoader([], 1)


def test_the_upcoming_batch_is_the_next_one_and_stays_the_next_one() -> None:
    loader = ContextLoader([0, 1], 2)
    iterator = iter(loader)
    for _ in range(3):
        seen = [loader.upcoming()["context_id"].tolist() for _ in range(2)]
        assert seen == [next(iterator)["context_id"].tolist()] * 2
