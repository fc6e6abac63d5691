"""What each chunk of an episode was worth, by hand-computed numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from samples import episode

from ript.algos.rl_optimizers.advantage_estimator import AdvantageEstimator
from ript.distributed import Distributed
from ript.env_runner.episode import ChunkDecision, Episode


def episodes() -> list[Episode]:
    """A success in two chunks, valued 0.5 and 0.75, and a failure in three, valued 0.5, 0.25 and 0.25."""
    made = [episode(80, success=True), episode(150)]
    values = [(0.5, 0.75), (0.5, 0.25, 0.25)]
    return [replace(e, decisions=[ChunkDecision(value=v) for v in own]) for e, own in zip(made, values, strict=True)]


def estimated(last: float = 0.0, **options: Any) -> Any:
    estimator = AdvantageEstimator(**{"rloo_batch_size": 2, "add_value_head": True, **options})
    return estimator(episodes(), np.array([9.0, last]), Distributed())


@pytest.mark.parametrize(
    ("advantage", "found"), [("rloo", [1.0, -1.0]), ("grpo", [0.5**0.5] * 2), ("none", [1.0, 0.0])]
)
def test_a_comparison_within_the_group_is_the_same_for_all_chunks(advantage: str, found: list[float]) -> None:
    first, second = estimated(advantage=advantage).advantages
    signs = [1, -1] if advantage == "grpo" else [1, 1]
    np.testing.assert_allclose(first, [signs[0] * found[0]] * 2, atol=1e-5)
    np.testing.assert_allclose(second, [signs[1] * found[1]] * 3, atol=1e-5)


def test_a_critic_judges_each_chunk_and_the_score_comes_with_the_last() -> None:
    (first, second), (returns, _), kept = estimated(advantage="gae", gamma=1.0, gae_lambda=0.5)
    np.testing.assert_allclose(first, [0.25 + 0.5 * 0.25, 0.25])
    np.testing.assert_allclose(second, [-0.25 + 0.5 * -0.125, 0.0 + 0.5 * -0.25, -0.25])
    np.testing.assert_allclose(returns, [0.875, 1.0])
    assert kept.all()


def test_only_a_time_out_goes_on_and_only_where_that_is_asked_for() -> None:
    options = {"advantage": "gae", "gamma": 1.0, "gae_lambda": 0.0}
    first, second = estimated(last=0.5, bootstrap="truncation", **options).advantages
    assert (first[-1], second[-1]) == (0.25, 0.25)
    assert estimated(last=0.5, bootstrap="none", **options).advantages[1][-1] == -0.25


def test_a_group_that_is_too_easy_is_left_out() -> None:
    assert estimated(advantage="grpo").is_kept.all()
    assert not estimated(advantage="grpo", reward_range=(0.6, 0.9)).is_kept.any()


def test_normalised_advantages_have_mean_0_and_spread_1_over_what_is_kept() -> None:
    everything = np.concatenate(estimated(advantage="gae", normalize_advantages=True).advantages)
    assert everything.mean() == pytest.approx(0, abs=1e-9) and everything.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"advantage": "ppo"}, "rloo, grpo, gae, none"),
        ({"advantage": "gae", "add_value_head": False}, "add_value_head=true"),
        ({"rloo_batch_size": 1}, "rloo_batch_size=1"),
        ({"gamma": 1.5}, "gamma=1.5"),
        ({"bootstrap": "always"}, "truncation, none"),
        ({"reward_range": [0.9, 0.1]}, "reward_range"),
    ],
)
def test_bad_values_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        estimated(**options)
