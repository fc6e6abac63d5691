"""Curves over an axis: a thin line for what was measured, a thick one for its moving average; rates with intervals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from ript.results.figures import INK, PALETTE, new_figure
from ript.results.success import wilson_interval

POINTS = 400
"""Points of a line at most: more are not seen, and make a page large."""
RATE_POINTS = 100
"""Points of a band at most."""
FEW = 30
"""So many points are marked one by one."""
DECADE = 10
"""Positive values whose average changes by more than this factor are drawn on a logarithmic axis."""


@dataclass(frozen=True)
class Curve:
    """Values over an axis."""

    x: np.ndarray
    """(N,)"""
    y: np.ndarray
    """(N,); what is not finite is left out of the line."""


@dataclass(frozen=True)
class Rates:
    """Success rates with their 95 % Wilson intervals, all as shares of 1."""

    x: np.ndarray
    """(N,)"""
    rate: np.ndarray
    """(N,)"""
    low: np.ndarray
    """(N,)"""
    high: np.ndarray
    """(N,)"""


def smoothing_window(n: int) -> int:
    """The window of a moving average of n values: about a twentieth of them, odd; 1 is none."""
    return n // 40 * 2 + 1


def moving_sum(values: np.ndarray, window: int) -> np.ndarray:
    """(N,) sums over a window centred on each of (N,) values; at the ends it holds fewer."""
    return np.convolve(values, np.ones(window), mode="full")[window // 2 : window // 2 + len(values)]


def moving_average(values: np.ndarray, window: int) -> np.ndarray:
    """(N,) means over the finite ones of (N,) values in a centred window; NaN where there is none."""
    finite = np.isfinite(values)
    count = moving_sum(finite.astype(float), window)
    total = moving_sum(np.where(finite, values, 0.0), window)
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def pool(x: np.ndarray, successes: np.ndarray, tries: np.ndarray) -> Rates:
    """Successes and tries (N,) of iterations, those within a `smoothing_window` taken together."""
    window, places = smoothing_window(len(x)), _places(len(x), RATE_POINTS)
    k = moving_sum(successes, window)[places].round().astype(int)
    n = moving_sum(tries, window)[places].round().astype(int)
    return rates(x[places], k, n)


def rates(x: np.ndarray, k: np.ndarray, n: np.ndarray) -> Rates:
    """Of k successes in n tries, each (N,) whole numbers; n must not be 0."""
    intervals = [wilson_interval(int(successes), int(tries)) for successes, tries in zip(k, n, strict=True)]
    low, high = np.array(intervals).reshape(-1, 2).T
    return Rates(x, k / n, low, high)


def curves_plot(curves: Mapping[str, Curve], xlabel: str, ylabel: str) -> Figure:
    """The curves with their moving averages."""
    figure, axes = new_figure()
    smooth = []
    for (name, curve), colour in zip(curves.items(), PALETTE, strict=False):
        window = smoothing_window(len(curve.x))
        smooth.append(moving_average(curve.y, window))
        if window > 1:
            axes.plot(*_thinned(curve), color=colour, linewidth=0.7, alpha=0.4)
        places = _places(len(curve.x), POINTS)
        marker = "o" if len(curve.x) <= FEW else None
        axes.plot(curve.x[places], smooth[-1][places], color=colour, label=name, marker=marker, markersize=3)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if _spans_a_decade(np.concatenate(smooth)):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def success_plot(training: Rates | None, evaluation: Rates | None, xlabel: str) -> Figure:
    """Success in percent: training rollouts as a line with a band, evaluations as points with bars."""
    figure, axes = new_figure()
    if training is not None:
        marker = "." if len(training.x) <= FEW else None
        axes.plot(training.x, 100 * training.rate, color=PALETTE[0], label="training rollouts", marker=marker)
        band = (100 * training.low, 100 * training.high)
        axes.fill_between(training.x, *band, color=PALETTE[0], alpha=0.18, linewidth=0)
    if evaluation is not None:
        below = np.maximum(evaluation.rate - evaluation.low, 0)
        above = np.maximum(evaluation.high - evaluation.rate, 0)
        bars = 100 * np.stack([below, above])
        x, y = evaluation.x, 100 * evaluation.rate
        axes.errorbar(x, y, yerr=bars, fmt="o-", color=PALETTE[1], capsize=3, markersize=4, label="evaluation")
    axes.set(xlabel=xlabel, ylabel="success in %", ylim=(-2, 102))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points of the curve, each the mean of its neighbours."""
    if len(curve.x) <= POINTS:
        return curve.x, curve.y
    bin_size = -(-len(curve.x) // POINTS)
    centres = np.arange(bin_size // 2, len(curve.x), bin_size)
    return curve.x[centres], moving_average(curve.y, bin_size)[centres]


def _places(n: int, most: int) -> np.ndarray:
    """At most so many indices of n values, evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))


def _spans_a_decade(values: np.ndarray) -> bool:
    values = values[np.isfinite(values)]
    return bool(len(values) and values.min() > 0 and values.max() / values.min() > DECADE)
