from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from ranks import run_ranks

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.distributed import Distributed
from ript.storage.batch import Batch, occurrences
from ript.storage.demonstrated import FIRST_DEMONSTRATION
from ript.storage.rollout_storage import RolloutStorage, balanced_steps
from ript.storage.windows import Window

SEED = (0, 0, 0)
EVERYTHING = [[0, 1, 2, 3, 4, 5]]


@pytest.fixture
def windows(tiny_policy: PI0_OFT_Policy) -> list[Window]:
    """Nine."""
    return jobs.make_optimizer().make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)


def filled(windows: list[Window], weights: Any, **options: Any) -> RolloutStorage:
    storage = RolloutStorage(**options)
    storage.add(windows, np.asarray(weights, float))
    return storage


def keys(batch: Batch) -> list[tuple[int, int]]:
    return [(window.episode_id, window.start) for window in batch.windows]


def same(left: Window, right: Window) -> bool:
    images = left.observation["image"].keys() == right.observation["image"].keys() and all(
        np.array_equal(image, right.observation["image"][name]) for name, image in left.observation["image"].items()
    )
    arrays = (
        (left.observation["state"], right.observation["state"]),
        (left.actions, right.actions),
        (left.action_is_pad, right.action_is_pad),
    )
    plain = [(w.advantage, w.episode_id, w.start, w.observation["prompt"]) for w in (left, right)]
    return images and plain[0] == plain[1] and all(np.array_equal(*pair) for pair in arrays)


def test_windows_of_so_many_iterations_are_kept_with_the_weights_they_had(windows: list[Window]) -> None:
    storage = filled(windows[:3], [0.25, 0.5, 0.75], replay_iterations=2)
    storage.add(windows[3:5], np.ones(2))
    assert [stored.weight for stored in storage.windows] == [0.25, 0.5, 0.75, 1, 1]
    (batch,) = storage.mini_batches(SEED)
    assert sorted(batch.weight) == [0.25, 0.5, 0.75, 1, 1]  # not binarised
    storage.add(windows[:1], np.zeros(1))
    assert [stored.window.start for stored in storage.windows] == [w.start for w in (*windows[3:5], windows[0])]


def test_one_iteration_is_no_replay(windows: list[Window]) -> None:
    storage = filled(windows, np.ones(9))
    storage.add(windows[:2], np.ones(2))
    assert len(storage.windows) == 2


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_a_loaded_replay_goes_on_as_the_saved_one(windows: list[Window], iterations: int, tmp_path: Path) -> None:
    storage, again = RolloutStorage(iterations), RolloutStorage(iterations)
    for part in (windows[:3], [], windows[3:5]):
        storage.add(part, np.linspace(0.1, 0.9, len(part)))
    storage.save(tmp_path / "replay_0.safetensors")
    again.load([tmp_path / "replay_0.safetensors"])
    for one in (storage, again):
        one.add(windows[:1], np.ones(1))
    assert [s.weight for s in again.windows] == [s.weight for s in storage.windows]
    assert all(same(a.window, b.window) for a, b in zip(again.windows, storage.windows, strict=True))


def test_a_damaged_replay_is_one_line_with_its_file(windows: list[Window], tmp_path: Path) -> None:
    path = tmp_path / "replay_0.safetensors"
    storage = filled(windows, np.ones(9), replay_iterations=2)
    storage.save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=str(path)) as caught:
        storage.load([path])
    assert "\n" not in str(caught.value)


def test_replayed_windows_of_two_ranks_are_all_there_on_one(windows: list[Window], tmp_path: Path) -> None:
    paths = [tmp_path / f"replay_{rank}.safetensors" for rank in range(2)]
    for rank, path in enumerate(paths):
        storage = filled(windows[rank::2], np.ones(len(windows[rank::2])), replay_iterations=3)
        storage.add(windows[rank : rank + 1], np.ones(1))
        storage.save(path)
    one = RolloutStorage(3)
    one.load(paths)
    assert len(one.windows) == 11
    two = [RolloutStorage(3, distributed=Distributed(rank, 2)) for rank in range(2)]
    for storage in two:
        storage.load(paths[:1] + paths[1:])
    assert [len(storage.windows) for storage in two] == [6, 5]


def test_every_window_is_dealt_once_per_epoch_in_an_order_of_its_own(windows: list[Window]) -> None:
    storage = filled(windows, np.ones(9), update_batch_size=4)
    epochs = [[keys(batch) for batch in storage.mini_batches((0, 0, epoch))] for epoch in range(2)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [4, 4, 1]
        assert sorted(key for batch in batches for key in batch) == sorted(keys(Batch.of(windows)))
    assert epochs[0] != epochs[1]


def test_windows_as_they_come_all_train_the_unconditional_branch_alike(windows: list[Window]) -> None:
    for batch in filled(windows, np.ones(9), update_batch_size=4).mini_batches(SEED):
        assert set(batch.weight_uncond) == {1.0}


def test_windows_drawn_because_they_are_positive_do_not_train_the_unconditional_branch(windows: list[Window]) -> None:
    pool = [replace(windows[0], episode_id=i) for i in range(400)]
    positive = np.arange(400) % 4 == 0
    storage = filled(pool, positive, update_batch_size=20, positive_share=0.6)
    seen = np.zeros(2)
    for batch in storage.mini_batches(SEED):
        trains = batch.weight_uncond > 0
        assert (batch.weight[~trains] == 1).all() and trains.sum() == 8
        assert batch.weight_uncond.mean() == pytest.approx(1)  # the mean over those that train it
        rest = batch.weight[trains]
        seen += (rest.sum(), len(rest))
    assert seen[0] / seen[1] == pytest.approx(0.25, abs=0.12)  # the share of the pool, not of the step


def test_a_balanced_epoch_has_each_positive_window_once_and_draws_the_rest_from_all() -> None:
    positive = np.zeros(100, bool)
    positive[::5] = True
    steps = list(balanced_steps(positive, 8, 0.5, np.random.default_rng(0)))
    assert len(steps) == 5 and all(len(step.number) == 8 for step in steps)
    firsts = np.concatenate([step.number[:4] for step in steps])
    np.testing.assert_array_equal(np.sort(firsts), np.flatnonzero(positive))
    rngs = [np.random.default_rng(seed) for seed in range(20)]
    rest = np.concatenate([step.number[4:] for rng in rngs for step in balanced_steps(positive, 8, 0.5, rng)])
    assert positive[rest].mean() == pytest.approx(0.2, abs=0.06)  # neither all of them nor negatives only


def test_nothing_positive_gives_no_step() -> None:
    assert list(balanced_steps(np.zeros(10, bool), 4, 0.5, np.random.default_rng(0))) == []


def test_demonstrations_have_their_share_weight_one_and_no_part_in_the_unconditional_branch(
    windows: list[Window],
) -> None:
    options = {"update_batch_size": 6, "demonstration_share": 0.5, "demonstration_windows": windows[:4]}
    batches = list(filled(windows, np.zeros(9), **options).mini_batches(SEED))
    assert len(batches) == 3
    drawn = set()
    for batch in batches:
        assert [w.episode_id >= FIRST_DEMONSTRATION for w in batch.windows] == [False] * 3 + [True] * 3
        assert batch.weight[3:].tolist() == [1, 1, 1]
        assert batch.weight_uncond.tolist() == [2, 2, 2, 0, 0, 0]
        drawn |= set(keys(batch)[3:])
    assert len(drawn) > 1  # not always the first


def test_an_entry_knows_how_often_it_came_before() -> None:
    assert occurrences(np.array([7, 3, 7, 7, 3])).tolist() == [0, 0, 1, 2, 1]


def drawn_keys(distributed: Distributed, folder: Path, shares: list[list[int]], options: dict[str, Any]) -> Any:
    """What each rank takes of each gradient step: keys, occurrences and weights."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    episodes, own = jobs.make_episodes(), shares[distributed.rank]
    demonstrations = jobs.make_optimizer().make_windows(policy, episodes[:3], jobs.ADVANTAGES[:3])
    optimizer = jobs.make_optimizer(distributed, demonstration_windows=demonstrations, **options)
    windows = optimizer.make_windows(policy, [episodes[i] for i in own], jobs.ADVANTAGES[own])
    optimizer.storage.add(windows, optimizer.weights(windows, jobs.ADVANTAGES[own]))
    return [
        list(zip(keys(b), b.occurrence.tolist(), b.weight.tolist(), b.weight_uncond.tolist(), strict=True))
        for b in optimizer.storage.mini_batches(SEED)
    ]


OPTIONS = {"update_batch_size": 8, "positive_share": 0.5, "demonstration_share": 0.25}


@pytest.mark.parametrize("shares", [[[0, 1, 2], [3, 4, 5]], [[5], [3, 1], [], [4, 0, 2]]])
def test_a_step_has_the_same_windows_on_any_number_of_ranks(tiny_policy_folder: Path, shares: list[list[int]]) -> None:
    alone = drawn_keys(Distributed(), tiny_policy_folder, EVERYTHING, OPTIONS)
    parts = run_ranks(drawn_keys, len(shares), tiny_policy_folder, shares, OPTIONS)
    assert len(alone[0]) == 8 - (len(alone) == 1)  # the last step has the rest of the positive windows
    for number, step in enumerate(alone):
        assert sorted(entry for part in parts for entry in part[number]) == sorted(step)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"demonstration_share": 0.5}, "needs update_batch_size"),
        ({"positive_share": 0.5}, "needs update_batch_size"),
        ({"demonstration_share": 1}, "from 0 to 0.9"),
        ({"demonstration_share": 0.5, "update_batch_size": 4}, "needs demonstration_windows"),
        ({"replay_iterations": 0}, "at least 1"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RolloutStorage(**options)
