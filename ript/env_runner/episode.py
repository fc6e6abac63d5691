"""The record of one rollout: the one schema that generator, windows, rewards and videos share."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Stride = int | Literal["last"] | None
"""Where training windows start: every so many steps, where the last chunk does, or (None) where every chunk does."""


@dataclass(frozen=True)
class Episode:
    """One rollout of one context; T executed steps in C chunks."""

    task_id: int
    task_description: str
    """The language instruction."""
    init_hash: str
    """Hash of simulator model and state after reset: equal hashes are the same scene."""
    actions: np.ndarray
    """(T, 7) float64, the commands the simulator executed."""
    actions_normalized: np.ndarray
    """(C, H, 7) float32, the chunks as the policy gave them."""
    executed: np.ndarray
    """(C,) int, how many steps of each chunk were executed; they add up to T."""
    observations: dict[int, dict[str, Any]]
    """Step → π0 observation (images (H, W, 3) uint8, state (8,), prompt), at every step where a window may start."""
    states: dict[int, np.ndarray]
    """Step → raw proprioception (8,) float64, for the same steps."""
    rewards: np.ndarray
    """(T,) float64."""
    success: bool
    valid: bool = True
    """False for a rollout that must not be learned from or counted."""
    episode_id: int = 0
    """Unique in the run, over all ranks, for a rollout that is learned from: context · 2¹⁶ + place in its group."""
    score: float = 0.0
    """What the reward function gave it."""
    frames: list[np.ndarray] = field(default_factory=list)
    """(H, W, 3) uint8 video frames, when they were asked for."""
    seconds: float = 0.0
    """Wall time from before the reset to the end, while others may have run beside it."""

    @property
    def length(self) -> int:
        """Executed steps T."""
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """Sum of the simulator's rewards."""
        return float(self.rewards.sum())
