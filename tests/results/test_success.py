import numpy as np
import pytest

from ript.results.success import Tally, describe, merge, newcombe_interval, summarize, wilson_interval


def test_the_interval_is_wilsons() -> None:
    k, n, z = 3, 10, 1.959963984540054
    centre = (k + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    assert wilson_interval(k, n) == pytest.approx((centre - half, centre + half))


def test_no_success_and_no_rollout_have_honest_intervals() -> None:
    low, high = wilson_interval(0, 10)
    assert low == 0 and 0.25 < high < 0.35
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("counts", "interval"), [((56, 70, 48, 80), (0.0524, 0.3339)), ((9, 10, 3, 10), (0.1705, 0.8090))]
)
def test_the_interval_of_a_difference_is_newcombes(
    counts: tuple[int, int, int, int], interval: tuple[float, float]
) -> None:
    """Table II of his paper, examples (a) and (b), method 10."""
    assert newcombe_interval(*counts) == pytest.approx(interval, abs=5e-5)


def test_ranks_are_merged_by_counts_not_by_averaging_rates() -> None:
    merged = merge([{"a": Tally(1, 1, 1.0), "b": Tally(0, 2)}, {"a": Tally(0, 3)}])
    assert merged == {"a": Tally(1, 4, 1.0), "b": Tally(0, 2)}
    assert summarize(merged)["rollout"]["overall_success_rate"] == pytest.approx(1 / 6)


def test_the_result_has_ripts_keys_and_the_counts() -> None:
    result = summarize({"a": Tally(2, 4, 2.0), "b": Tally(0, 4)})
    assert result["rollout"]["rollout_count"] == 8
    assert result["rollout"]["success_count"] == 2
    assert result["rollout"]["environments_solved"] == 1
    assert result["rollout"]["overall_average_reward"] == 0.25
    assert result["rollout_success_rate"] == {"a": 0.5, "b": 0.0}


def test_the_summary_line_has_k_of_n() -> None:
    assert describe(summarize({"a": Tally(3, 10)})) == "3/10 = 30.0 % (95 % interval 10.8 to 60.3 %)"
