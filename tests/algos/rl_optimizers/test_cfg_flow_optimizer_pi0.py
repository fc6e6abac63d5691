from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch
from ranks import run_ranks

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.distributed import Distributed

EVERYTHING = [[0, 1, 2, 3, 4, 5]]
ALL_OPTIONS = {
    "update_batch_size": 7,
    "positive_share": 0.5,
    "demonstration_share": 0.3,
    "shift": 2,
    "jitter": 0.2,
    "advantage_weighting": "continuous",
}


def alone(folder: Path, **options: Any) -> Any:
    return jobs.gradient_of_share(Distributed(), folder, EVERYTHING, options)


@pytest.mark.parametrize("loss_mode", ["dual", "dropout"])
def test_the_gradient_does_not_depend_on_the_split_into_micro_batches(tiny_policy_folder: Path, loss_mode: str) -> None:
    whole, sums = alone(tiny_policy_folder, optimizer_batch_size=100, loss_mode=loss_mode)
    for size in (1, 2, 4):  # 9 windows: a remainder each time
        gradient, split_sums = alone(tiny_policy_folder, optimizer_batch_size=size, loss_mode=loss_mode)
        np.testing.assert_allclose(gradient, whole, rtol=5e-6, atol=1e-6)
        assert split_sums == pytest.approx(sums, rel=1e-5)


@pytest.mark.parametrize(
    ("shares", "options"),
    [
        ([[0, 1, 2], [3, 4, 5]], {}),
        ([[0, 1, 2, 3, 4, 5], []], {"advantage_weighting": "continuous"}),
        ([[5, 0], [3, 1, 4, 2]], ALL_OPTIONS),
        ([[4], [], [0, 2, 3, 5], [1]], ALL_OPTIONS),
    ],
)
def test_ranks_together_give_the_gradient_of_one(
    tiny_policy_folder: Path, shares: list[list[int]], options: dict[str, Any]
) -> None:
    whole, sums = alone(tiny_policy_folder, **options)
    for gradient, shared_sums in run_ranks(jobs.gradient_of_share, len(shares), tiny_policy_folder, shares, options):
        np.testing.assert_allclose(gradient, whole, rtol=5e-6, atol=1e-6)
        assert shared_sums == pytest.approx(sums, rel=1e-5)


def test_ranks_whose_rollouts_end_differently_stay_in_step(tiny_policy_folder: Path) -> None:
    options = {"rloo_batch_size": 4, "demo_batch_size": 1, "max_groups_per_step": 1, "update_batch_size": 4}
    results = run_ranks(jobs.optimize_on_plane, 2, tiny_policy_folder, 4, options)
    (metrics, weights), (other_metrics, other_weights) = results
    np.testing.assert_array_equal(weights, other_weights)
    for mine, theirs in zip(metrics, other_metrics, strict=True):
        shared = {key for key in mine if not key.startswith("time/")}
        assert {key: mine[key] for key in shared} == {key: theirs[key] for key in shared}
        assert all(np.isfinite(value) for value in mine.values())


@pytest.mark.slow
def test_no_rank_waits_for_another_over_100_seeds_with_uneven_success(tiny_policy_folder: Path) -> None:
    results = run_ranks(jobs.iterate_with_seeds, 2, tiny_policy_folder, range(100), timeout_s=1200)
    (first, weights), (second, other_weights) = results
    np.testing.assert_array_equal(weights, other_weights)
    assert (
        [total for _, total in first]
        == [total for _, total in second]
        == [mine + theirs for (mine, _), (theirs, _) in zip(first, second, strict=True)]
    )
    cases = {(bool(mine), bool(theirs)) for (mine, _), (theirs, _) in zip(first, second, strict=True)}
    assert cases == {(False, False), (False, True), (True, False), (True, True)}


def test_an_iteration_without_any_accepted_group_changes_nothing(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer()
    before = [p.clone() for p in tiny_policy.model.parameters()]
    metrics = optimizer.update(jobs.make_learner(tiny_policy), 0)
    assert metrics == {"num_windows": 0.0, "gradient_steps": 0.0}
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.model.parameters(), strict=True))


def test_each_epoch_steps_through_all_windows_with_noise_of_its_own(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer(num_epochs=2, update_batch_size=4)
    windows = optimizer.make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)
    optimizer.storage.add(windows, np.ones(len(windows)))
    learner = jobs.make_learner(tiny_policy)
    seen: list[tuple[int, tuple[int, ...]]] = []

    def recording(terms: Any, seed: tuple[int, ...], groups: list[str]) -> dict[str, float]:
        assert groups == ["model", "header"]
        seen.append((len(terms[0][1]), seed))
        return {}

    learner.step = recording  # type: ignore[method-assign]
    assert optimizer.update(learner, len(windows))["gradient_steps"] == 6
    assert [size for size, _ in seen] == [4, 4, 1, 4, 4, 1]
    assert len({seed for _, seed in seen}) == 6


def test_images_are_augmented_before_they_are_learned_from(tiny_policy: PI0_OFT_Policy) -> None:
    shown = []
    for jitter in (0.0, 0.3):
        optimizer = jobs.make_optimizer(jitter=jitter)
        windows = optimizer.make_windows(tiny_policy, jobs.make_episodes()[:1], jobs.ADVANTAGES[:1])
        optimizer.storage.add(windows, np.ones(1))
        learner = jobs.make_learner(tiny_policy)
        learner.step = lambda terms, *_: shown.append(terms[0][1].windows[0]) or {}  # type: ignore[method-assign,func-returns-value]
        optimizer.update(learner, 1)
    plain, changed = (window.observation["image"]["base_0_rgb"] for window in shown)
    assert (plain == windows[0].observation["image"]["base_0_rgb"]).all() and (plain != changed).any()


def test_metrics_divide_sums_by_their_own_counts(tiny_policy_folder: Path) -> None:
    options = {"rloo_batch_size": 4, "demo_batch_size": 2, "max_groups_per_step": 6}
    ((metrics,), _) = jobs.optimize_on_plane(Distributed(), tiny_policy_folder, 1, options)
    assert metrics["rollout_checked"] <= 6
    assert 0 < metrics["raw_success_rate"] < 1
    assert metrics["mean_advantage"] == pytest.approx(0, abs=1e-9)
    assert metrics["non_zero_adv_ratio"] == 1  # only mixed groups were kept
    assert metrics["rollouts_learned_from"] in (4, 8)
    assert metrics["num_windows"] == metrics["rollouts_learned_from"]  # one chunk per rollout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("loss_mode", "duel", "did you mean dual"),
        ("advantage_weighting", "softmax", "binary, continuous, none"),
        ("short_windows", "drop", "mask, skip"),
        ("alpha_uncond", -0.1, "at least 0"),
        ("cond_dropout", 1.5, "from 0 to 1"),
        ("num_epochs", 0, "at least 1"),
        ("window_stride", 0, "at least 1"),
    ],
)
def test_bad_options_are_refused_with_name_value_and_what_is_valid(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jobs.make_optimizer(**{option: value})
