"""Advantages of rollouts within a group and of chunks within an episode; the weights of the positive branch."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ript.checks import in_range, one_of

Weighting = Literal["binary", "continuous", "none"]
Bootstrap = Literal["always", "truncation", "none"]


class GroupAdvantages(NamedTuple):
    """Advantages of N rollouts in whole groups."""

    advantages: np.ndarray
    """(N,) float64."""
    is_kept: np.ndarray
    """(N,) bool: False for groups that are left out of the loss and of its denominator."""


class ChunkAdvantages(NamedTuple):
    """Advantages of the chunks of episodes, each of its own length."""

    advantages: list[np.ndarray]
    """Per episode (C_i,) float64."""
    returns: list[np.ndarray]
    """Per episode (C_i,) float64, what the value of each chunk's observation should be."""


def rloo_advantages(rewards: ArrayLike, group_size: int) -> np.ndarray:
    """Leave-one-out advantages A_i = r_i - mean_{j≠i} r_j within each group (RLOO, arXiv 2402.14740).

    `rewards` (N,) holds whole groups of `group_size` one after the other. Raises ValueError otherwise.
    """
    groups = _groups(rewards, group_size)
    baseline = (groups.sum(axis=1, keepdims=True) - groups) / (group_size - 1)
    return (groups - baseline).reshape(-1)


def logged_advantages(rewards: np.ndarray, tasks: Sequence[str], scenes: Sequence[str]) -> np.ndarray:
    """Advantages (N,) of logged rollouts, however many there are of a context, in any order.

    `rloo_advantages` among those of one task and scene; a scene's only rollout has its distance from the mean reward
    of all logged rollouts of its task. `rewards` is (N,) float64.
    """
    rewards, advantages = np.asarray(rewards, np.float64), np.zeros(len(rewards))
    for rows in _rows_by(tasks):
        advantages[rows] = rewards[rows] - rewards[rows].mean()
    for rows in _rows_by(list(zip(tasks, scenes, strict=True))):
        if len(rows) > 1:
            advantages[rows] = rloo_advantages(rewards[rows], len(rows))
    return advantages


def grpo_advantages(
    rewards: np.ndarray, group_size: int, reward_range: tuple[float, float] = (0.1, 0.9)
) -> GroupAdvantages:
    """A_i = (r_i - mean) / (std + 1e-6) within each group, with the unbiased std (GRPO, arXiv 2402.03300).

    Groups whose mean reward lies outside `reward_range` are not kept. `rewards` as for `rloo_advantages`.
    """
    groups = _groups(rewards, group_size)
    mean = groups.mean(axis=1, keepdims=True)
    advantages = (groups - mean) / (groups.std(axis=1, ddof=1, keepdims=True) + 1e-6)
    is_kept = (mean >= reward_range[0]) & (mean <= reward_range[1])
    return GroupAdvantages(advantages.reshape(-1), np.repeat(is_kept, group_size))


def gae_advantages(
    rewards: Sequence[np.ndarray],
    values: Sequence[np.ndarray],
    last_values: np.ndarray,
    truncated: np.ndarray,
    *,
    gamma: float = 0.99,
    gae_lambda: float = 0.95,
    bootstrap: Bootstrap = "truncation",
) -> ChunkAdvantages:
    """Generalised advantage estimation over the chunks of each of N episodes (arXiv 1506.02438).

    δ_c = r_c + γ·V_{c+1} - V_c and A_c = δ_c + γλ·A_{c+1}; the returns are A + V. `rewards` and `values` hold (C_i,)
    per episode: the sum over a chunk's steps, and the value of the observation it started from. V after the last
    chunk is `last_values` (N,), the value of the observation that followed, where `bootstrap` allows it, else 0:
    `truncation` where `truncated` (N,) says that time ran out, `always` after a success too, `none` never.
    """
    one_of("bootstrap", bootstrap, ("always", "truncation", "none"))
    continues = {"always": np.ones(len(rewards)), "truncation": np.asarray(truncated), "none": np.zeros(len(rewards))}
    tails = np.where(continues[bootstrap], last_values, 0.0)
    advantages = [
        _episode_gae(own_rewards, own_values, tail, gamma, gae_lambda)
        for own_rewards, own_values, tail in zip(rewards, values, tails, strict=True)
    ]
    return ChunkAdvantages(advantages, [a + v for a, v in zip(advantages, values, strict=True)])


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


def _rows_by(keys: Sequence[Hashable]) -> list[np.ndarray]:
    """The rows of each distinct key."""
    rows: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(key, []).append(row)
    return [np.array(own, int) for own in rows.values()]


def _groups(rewards: ArrayLike, group_size: int) -> np.ndarray:
    """(N,) → (N / K, K) float64. Raises ValueError when there is no such shape, or nothing to compare with."""
    rewards = np.asarray(rewards, np.float64)
    if group_size < 2:
        raise ValueError(f"an advantage within a group needs groups of at least 2, got {group_size}")
    if len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards are no whole number of groups of {group_size}")
    return rewards.reshape(-1, group_size)


def _episode_gae(rewards: np.ndarray, values: np.ndarray, tail: float, gamma: float, gae_lambda: float) -> np.ndarray:
    """Advantages (C,) of one episode, from its end to its start; `tail` is the value after the last chunk."""
    if len(rewards) != len(values):
        raise ValueError(f"an episode has {len(rewards)} chunk rewards but {len(values)} values")
    deltas = rewards + gamma * np.append(values[1:], tail) - values
    advantages, following = np.zeros(len(deltas)), 0.0
    for chunk in reversed(range(len(deltas))):
        advantages[chunk] = following = deltas[chunk] + gamma * gae_lambda * following
    return advantages
