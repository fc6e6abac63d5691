"""Advantages of the rollouts of a group, and the weights that the positive branch gives them."""

from typing import Literal

import numpy as np

Weighting = Literal["binary", "continuous", "none"]


def rloo_advantages(rewards: np.ndarray, group_size: int) -> np.ndarray:
    """Leave-one-out advantages A_i = r_i - mean_{j≠i} r_j within each group (RLOO, arXiv 2402.14740).

    `rewards` (N,) holds whole groups of `group_size` one after the other. Raises ValueError otherwise.
    """
    if group_size < 2:
        raise ValueError(f"leave-one-out needs groups of at least 2, got {group_size}")
    if len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards are no whole number of groups of {group_size}")
    groups = np.asarray(rewards, np.float64).reshape(-1, group_size)
    baseline = (groups.sum(axis=1, keepdims=True) - groups) / (group_size - 1)
    return (groups - baseline).reshape(-1)


def positive_weights(
    advantages: np.ndarray, weighting: Weighting, std: float, temperature: float = 1.0, a_max: float = 5.0
) -> np.ndarray:
    """w(A) (N,) of the positive branch: 1[A > 0], clip(A / std / temperature, 0, a_max), or always 1.

    `std` is that of the advantages of all ranks; a batch without spread gets weight 0.
    """
    if weighting == "binary":
        return (advantages > 0).astype(np.float64)
    if weighting == "none":
        return np.ones_like(advantages)
    if std <= 0:
        return np.zeros_like(advantages)
    return np.clip(advantages / std / temperature, 0.0, a_max)
