import numpy as np
import pytest

from ript.algos.advantages import PositiveWeights, rloo_advantages


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
    with pytest.raises(ValueError, match="groups"):
        rloo_advantages(np.zeros(count), size)


def test_binary_weights_are_one_where_the_advantage_is_positive() -> None:
    np.testing.assert_array_equal(PositiveWeights()(np.array([-1.0, 0.0, 1e-9, 3.0]), std=1.0), [0, 0, 1, 1])


def test_continuous_weights_are_clipped_standardised_advantages() -> None:
    weights = PositiveWeights("continuous", temperature=2.0, a_max=5.0)(np.array([-1.0, 0.5, 100.0]), std=0.5)
    np.testing.assert_allclose(weights, [0, 0.5, 5.0])


def test_continuous_weights_of_a_batch_without_spread_are_zero() -> None:
    np.testing.assert_array_equal(PositiveWeights("continuous")(np.zeros(3), std=0.0), np.zeros(3))


def test_without_weighting_every_rollout_is_imitated_alike() -> None:
    np.testing.assert_array_equal(PositiveWeights("none")(np.array([-1.0, 0.0, 3.0]), std=1.0), np.ones(3))
