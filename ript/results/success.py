"""Success counts with their uncertainty."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import binomtest


@dataclass(frozen=True)
class Tally:
    """k successes in n rollouts."""

    k: int = 0
    n: int = 0
    reward: float = 0.0
    """Sum over the rollouts."""

    def add(self, success: bool, reward: float) -> "Tally":
        """The tally with one more rollout of so much reward."""
        return self + Tally(int(success), 1, reward)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.k + other.k, self.n + other.n, self.reward + other.reward)


def wilson_interval(k: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate; (0, 1) when nothing was tried."""
    if n == 0:
        return 0.0, 1.0
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def newcombe_interval(k: int, n: int, k0: int, n0: int) -> tuple[float, float]:
    """95 % interval of the difference k/n − k0/n0 of two independent rates, from their Wilson intervals.

    Method 10 of Newcombe, "Interval estimation for the difference between independent proportions" (1998).
    """
    rate, rate0 = k / n, k0 / n0
    (low, high), (low0, high0) = wilson_interval(k, n), wilson_interval(k0, n0)
    below = math.hypot(rate - low, high0 - rate0)
    above = math.hypot(high - rate, rate0 - low0)
    return rate - rate0 - below, rate - rate0 + above


def merge(parts: list[dict[str, Tally]]) -> dict[str, Tally]:
    """Adds the tallies of all ranks, task by task."""
    merged: dict[str, Tally] = {}
    for part in parts:
        for name, tally in part.items():
            merged[name] = merged.get(name, Tally()) + tally
    return merged


def summarize(tallies: Mapping[str, Tally]) -> dict[str, Any]:
    """RIPT's evaluation result, with counts and interval.

    `rollout`: `overall_success_rate`, `overall_average_reward`, `environments_solved` (tasks with any success),
    `rollout_count`, `success_count`, `success_rate_low`, `success_rate_high`; `rollout_success_rate`: task → rate.
    """
    total = sum(tallies.values(), Tally())
    low, high = wilson_interval(total.k, total.n)
    return {
        "rollout": {
            "overall_success_rate": total.k / max(total.n, 1),
            "overall_average_reward": total.reward / max(total.n, 1),
            "environments_solved": sum(tally.k > 0 for tally in tallies.values()),
            "rollout_count": total.n,
            "success_count": total.k,
            "success_rate_low": low,
            "success_rate_high": high,
        },
        "rollout_success_rate": {name: tally.k / tally.n for name, tally in tallies.items() if tally.n},
    }


def describe(result: Mapping[str, Any]) -> str:
    """`3/10 = 30.0 % (95 % interval 10.8 to 60.3 %)`."""
    rollout = result["rollout"]
    low, high = 100 * rollout["success_rate_low"], 100 * rollout["success_rate_high"]
    counts = f"{rollout['success_count']}/{rollout['rollout_count']}"
    return f"{counts} = {100 * rollout['overall_success_rate']:.1f} % (95 % interval {low:.1f} to {high:.1f} %)"
