"""Advantages of the rollouts of a group, and the weights that the positive branch gives them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ript.checks import in_range, one_of

Weighting = Literal["binary", "continuous", "none"]


def rloo_advantages(rewards: ArrayLike, group_size: int) -> np.ndarray:
    """Leave-one-out advantages A_i = r_i - mean_{j≠i} r_j within each group (RLOO, arXiv 2402.14740).

    `rewards` (N,) holds whole groups of `group_size` one after the other. Raises ValueError otherwise.
    """
    rewards = np.asarray(rewards, np.float64)
    if group_size < 2:
        raise ValueError(f"leave-one-out needs groups of at least 2, got {group_size}")
    if len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards are no whole number of groups of {group_size}")
    groups = rewards.reshape(-1, group_size)
    baseline = (groups.sum(axis=1, keepdims=True) - groups) / (group_size - 1)
    return (groups - baseline).reshape(-1)


@dataclass(frozen=True)
class PositiveWeights:
    """w(A) of the positive branch.

    Args:
        advantage_weighting: `binary` 1[A > 0], `continuous` clip(A / std / temperature, 0, a_max), or `none`: always 1.
        temperature, a_max: of `continuous`.
    """

    advantage_weighting: Weighting = "binary"
    temperature: float = 1.0
    a_max: float = 5.0

    def __post_init__(self) -> None:
        one_of("advantage_weighting", self.advantage_weighting, ("binary", "continuous", "none"))
        in_range("temperature", self.temperature, 1e-6)
        in_range("a_max", self.a_max, 0)

    def __call__(self, advantages: np.ndarray, std: float) -> np.ndarray:
        """Weights (N,) of advantages (N,). `std` is that of all ranks; a batch without spread gets weight 0."""
        if self.advantage_weighting == "binary":
            return (advantages > 0).astype(np.float64)
        if self.advantage_weighting == "none":
            return np.ones(len(advantages))
        if std <= 0:
            return np.zeros(len(advantages))
        return np.clip(advantages / std / self.temperature, 0.0, self.a_max)
