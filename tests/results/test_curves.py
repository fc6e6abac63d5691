import numpy as np
import pytest

from ript.results.curves import Curve, curves_plot, moving_average, pool, smoothing_window
from ript.results.success import wilson_interval


@pytest.mark.parametrize("window", [1, 3, 7])
def test_a_moving_average_is_the_mean_of_the_finite_neighbours(window: int) -> None:
    values = np.random.default_rng(0).normal(size=20)
    values[[3, 4, 5, 11]] = (np.nan, np.nan, np.inf, -np.inf)
    averaged = moving_average(values, window)
    for i in range(20):
        near = values[max(i - window // 2, 0) : i + window // 2 + 1]
        near = near[np.isfinite(near)]
        np.testing.assert_allclose(averaged[i], near.mean() if len(near) else np.nan)


def test_pooled_rates_count_the_rollouts_of_neighbouring_iterations() -> None:
    tries = np.tile([8.0, 16.0], 40)
    successes = np.tile([2.0, 12.0], 40)
    window = smoothing_window(80)
    rates = pool(np.arange(80.0), successes, tries)
    assert window == 5 and len(rates.x) == 80
    k, n = int(successes[38:43].sum()), int(tries[38:43].sum())
    assert rates.rate[40] == pytest.approx(k / n)
    assert (rates.low[40], rates.high[40]) == pytest.approx(wilson_interval(k, n))


def test_a_short_curve_is_drawn_as_it_is_and_a_long_one_with_few_points() -> None:
    for n, lines in ((20, 1), (10_000, 2)):
        axes = curves_plot({"a": Curve(np.arange(n), np.linspace(1, 2, n))}, "x", "y").axes[0]
        assert len(axes.lines) == lines and all(len(line.get_xdata()) <= 400 for line in axes.lines)
        assert axes.lines[-1].get_xdata()[-1] == n - 1
    short = curves_plot({"a": Curve(np.array([1.0]), np.array([3.0]))}, "x", "y").axes[0].lines[0]
    assert list(short.get_ydata()) == [3.0]


def test_values_over_more_than_a_decade_get_a_logarithmic_axis() -> None:
    x = np.arange(20)
    assert curves_plot({"a": Curve(x, 10.0 ** (x / 5))}, "x", "y").axes[0].get_yscale() == "log"
    assert curves_plot({"a": Curve(x, x / 20)}, "x", "y").axes[0].get_yscale() == "linear"
