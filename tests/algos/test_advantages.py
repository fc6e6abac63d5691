from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest

from ript.algos.advantages import (
    PositiveWeights,
    gae_advantages,
    grpo_advantages,
    logged_advantages,
    rloo_advantages,
)


def test_leave_one_out_equals_the_formula_member_by_member() -> None:
    rewards = np.random.default_rng(0).normal(size=12)
    expected = [
        rewards[4 * g + i] - np.mean([rewards[4 * g + j] for j in range(4) if j != i])
        for g in range(3)
        for i in range(4)
    ]
    np.testing.assert_allclose(rloo_advantages(rewards, 4), expected, atol=1e-12)


def test_one_success_among_four_gets_one_and_the_others_minus_a_third() -> None:
    np.testing.assert_allclose(rloo_advantages(np.array([1.0, 0, 0, 0]), 4), [1, -1 / 3, -1 / 3, -1 / 3])


def test_advantages_of_a_group_do_not_depend_on_other_groups() -> None:
    alone = rloo_advantages(np.array([1.0, 0.0]), 2)
    np.testing.assert_array_equal(rloo_advantages(np.array([1.0, 0.0, 5.0, 7.0]), 2)[:2], alone)


def test_uniform_groups_and_no_groups_have_no_advantage() -> None:
    np.testing.assert_array_equal(rloo_advantages(np.ones(8), 4), np.zeros(8))
    assert len(rloo_advantages(np.zeros(0), 4)) == 0


@pytest.mark.parametrize(("count", "size"), [(7, 4), (3, 1)])
def test_a_short_group_is_refused(count: int, size: int) -> None:
    for advantages_of in (rloo_advantages, grpo_advantages):
        with pytest.raises(ValueError, match="groups"):
            advantages_of(np.zeros(count), size)


def test_binary_weights_are_one_where_the_advantage_is_positive() -> None:
    np.testing.assert_array_equal(PositiveWeights()(np.array([-1.0, 0.0, 1e-9, 3.0]), std=1.0), [0, 0, 1, 1])


def test_continuous_weights_are_clipped_standardised_advantages() -> None:
    weights = PositiveWeights("continuous", temperature=2.0, a_max=5.0)(np.array([-1.0, 0.5, 100.0]), std=0.5)
    np.testing.assert_allclose(weights, [0, 0.5, 5.0])


def test_continuous_weights_of_a_batch_without_spread_are_zero() -> None:
    np.testing.assert_array_equal(PositiveWeights("continuous")(np.zeros(3), std=0.0), np.zeros(3))


def test_without_weighting_every_rollout_is_imitated_alike() -> None:
    np.testing.assert_array_equal(PositiveWeights("none")(np.array([-1.0, 0.0, 3.0]), std=1.0), np.ones(3))


def test_grpo_advantages_are_standardised_within_each_group() -> None:
    rewards = np.random.default_rng(0).uniform(0.1, 0.9, size=12)
    got = grpo_advantages(rewards, 4)
    groups = [rewards[first : first + 4].tolist() for first in (0, 4, 8)]
    expected = [(reward - mean(group)) / (stdev(group) + 1e-6) for group in groups for reward in group]
    np.testing.assert_allclose(got.advantages, expected, atol=1e-12)
    assert got.is_kept.all()


def test_one_success_among_four_by_hand() -> None:
    advantages, _ = grpo_advantages(np.array([1.0, 0, 0, 0]), 4)
    np.testing.assert_allclose(advantages, [1.5, -0.5, -0.5, -0.5], atol=1e-5)  # mean 1/4, unbiased std 1/2


def test_groups_outside_the_range_are_not_kept() -> None:
    rewards = np.array([0.0, 0, 1, 1, 1, 0, 1, 0.9])
    assert grpo_advantages(rewards, 2).is_kept.tolist() == [False] * 4 + [True] * 2 + [False] * 2
    assert grpo_advantages(rewards, 2, (0.0, 1.0)).is_kept.all()
    assert np.isfinite(grpo_advantages(rewards, 2).advantages).all()


def gae_by_definition(
    rewards: np.ndarray, values: np.ndarray, tail: float, gamma: float, gae_lambda: float
) -> list[float]:
    """The λ-weighted mean of all k-step advantages, each written out."""
    count, v = len(rewards), [*values, tail]

    def k_step(start: int, k: int) -> float:
        return sum(gamma**i * rewards[start + i] for i in range(k)) + gamma**k * v[start + k] - v[start]

    return [
        (1 - gae_lambda) * sum(gae_lambda ** (k - 1) * k_step(start, k) for k in range(1, count - start))
        + gae_lambda ** (count - start - 1) * k_step(start, count - start)
        for start in range(count)
    ]


EPISODES: dict[str, Any] = {
    "rewards": [np.array([0.0, 0, 1]), np.array([0.0, 0])],
    "values": [np.array([0.5, 0.25, 0.5]), np.array([0.4, 0.2])],
    "last_values": np.array([9.0, 0.8]),
    "truncated": np.array([False, True]),
}


def test_chunk_advantages_by_hand() -> None:
    """γ = 0.5, λ = 0.5. Success: δ = (-0.375, 0, 0.5). Out of time, with 0.8 after it: δ = (-0.3, 0.2)."""
    advantages, returns = gae_advantages(**EPISODES, gamma=0.5, gae_lambda=0.5)
    np.testing.assert_allclose(advantages[0], [-0.34375, 0.125, 0.5])
    np.testing.assert_allclose(advantages[1], [-0.25, 0.2])
    np.testing.assert_allclose(returns[0], [0.15625, 0.375, 1.0])
    np.testing.assert_allclose(returns[1], [0.15, 0.4])


def test_what_follows_the_last_chunk_counts_where_it_is_bootstrapped() -> None:
    """The last δ is r + γ·V - v; V is the value that followed, or 0."""
    for bootstrap, last in {
        "always": (1 + 4.5 - 0.5, 0.4 - 0.2),
        "truncation": (0.5, 0.4 - 0.2),
        "none": (0.5, -0.2),
    }.items():
        advantages, _ = gae_advantages(**EPISODES, gamma=0.5, bootstrap=bootstrap)  # type: ignore[arg-type]
        np.testing.assert_allclose([own[-1] for own in advantages], last)


def test_chunk_advantages_are_the_weighted_mean_of_all_k_step_ones() -> None:
    rng = np.random.default_rng(0)
    rewards, values = ([rng.normal(size=count) for count in (1, 7, 4)] for _ in range(2))
    tails = rng.normal(size=3)
    got = gae_advantages(rewards, values, tails, np.ones(3, bool), gamma=0.9, gae_lambda=0.8)
    for episode in range(3):
        expected = gae_by_definition(rewards[episode], values[episode], tails[episode], 0.9, 0.8)
        np.testing.assert_allclose(got.advantages[episode], expected, atol=1e-12)
        np.testing.assert_allclose(got.returns[episode], expected + values[episode], atol=1e-12)


def test_a_value_missing_and_an_unknown_bootstrap_are_refused() -> None:
    with pytest.raises(ValueError, match="3 chunk rewards but 2 values"):
        gae_advantages([np.zeros(3)], [np.zeros(2)], np.zeros(1), np.zeros(1, bool))
    with pytest.raises(ValueError, match="Valid: always, truncation, none"):
        gae_advantages([], [], np.zeros(0), np.zeros(0, bool), bootstrap="truncated")  # type: ignore[arg-type]


def test_logged_rollouts_are_compared_within_their_scene_else_with_their_task() -> None:
    tasks, scenes = ["a", "b", "a", "a", "b", "b", "a"], ["1", "1", "2", "1", "3", "4", "1"]
    rewards = np.array([1.0, 1, 1, 0, 0, 0, 0])
    # Scene 1 of task a has three rollouts; all others are alone: of a, mean 1/2, and of b, mean 1/3.
    wanted = [1, 2 / 3, 1 / 2, -1 / 2, -1 / 3, -1 / 3, -1 / 2]
    np.testing.assert_allclose(logged_advantages(rewards, tasks, scenes), wanted)


def test_whole_logged_groups_have_the_advantages_of_an_iteration() -> None:
    rewards = np.random.default_rng(0).uniform(size=12)
    scenes = np.repeat(["x", "y", "z"], 4)
    order = np.random.default_rng(1).permutation(12)
    found = logged_advantages(rewards[order], ["a"] * 12, scenes[order].tolist())
    np.testing.assert_allclose(found, rloo_advantages(rewards, 4)[order])
