"""Learning rates over iterations: a function of the iteration, so that there is nothing to restore but its floor."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ript.checks import in_range, one_of, whole_number


@dataclass
class Schedule:
    """A linear warm-up, then constant rates or a cosine down to zero at the last iteration.

    Args:
        rates: parameter group → learning rate after the warm-up.
        lr_schedule: `constant` or `cosine`.
        warmup_steps: iterations until the full rate.
        n_steps: iterations of the run.
    """

    rates: Mapping[str, float]
    lr_schedule: Literal["constant", "cosine"] = "constant"
    warmup_steps: int = 0
    n_steps: int = 1
    highest: float = field(default=1.0, init=False)
    """The factor that is not exceeded: after the warm-up a rate never rises, also when a resumed run has more steps."""

    def __post_init__(self) -> None:
        one_of("algo.lr_schedule", self.lr_schedule, ("constant", "cosine"))
        whole_number("algo.warmup_steps", self.warmup_steps, 0)
        whole_number("training.n_steps", self.n_steps, 1)
        for group, rate in self.rates.items():
            in_range("algo.lr" if group == "model" else f"algo.{group}_lr", rate, 0)

    def factor(self, iteration: int) -> float:
        """What the rates are multiplied by in iteration `iteration`, counted from 0."""
        if iteration < self.warmup_steps:
            return (iteration + 1) / (self.warmup_steps + 1)
        if self.lr_schedule == "constant":
            return self.highest
        done = (iteration - self.warmup_steps) / max(self.n_steps - self.warmup_steps, 1)
        return min(self.highest, 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))

    def resume(self, iteration: int, factor: float) -> None:
        """Goes on after an iteration that had this factor: it is not exceeded any more, once the warm-up is over."""
        if iteration > self.warmup_steps and self.lr_schedule == "cosine":
            self.highest = factor
