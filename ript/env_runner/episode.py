"""The record of one rollout: the one schema that generator, windows, rewards and videos share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Stride = int | Literal["last"] | None
"""Where training windows start: every so many steps, where the last chunk does, or (None) where every chunk does."""


@dataclass(frozen=True)
class ChunkDecision:
    """How one chunk was decided, for algorithms that score it again: see `ript.flow.samplers.Chain`. Arrays only."""

    points: np.ndarray | None = None
    """(P, H, 32) float32, the way from the noise, first, to the whole chunk it became, last: of a random sampler all
    N+1 points, of Euler steps these two, where they were asked for; else None."""
    step: int = -1
    """The denoising step that was random; -1 where all or none were."""
    log_prob: np.ndarray | None = None
    """(H, A) float32, elementwise, or (L, 32) of a learned initial noise; None where nothing was random."""
    value: float | None = None
    """What the critic expected from here on; None without critic."""
    latent: np.ndarray | None = None
    """(L, 32) float32, the initial noise as it was decided; None where it is not learned."""
    features: np.ndarray | None = None
    """(F,) float32, what it was decided from."""


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
    observations: Mapping[int, dict[str, Any]]
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
    decisions: Sequence[ChunkDecision] = ()
    """(C,) how each chunk was decided."""
    last_observation: dict[str, Any] | None = None
    """π0 observation after the last step of an episode that ran out of time, where it was asked for."""
    frames: list[np.ndarray] = field(default_factory=list)
    """(H, W, 3) uint8 video frames, when they were asked for."""
    seconds: float = 0.0
    """Wall time from before the reset to the end, while others may have run beside it."""

    @property
    def length(self) -> int:
        """Executed steps T."""
        return len(self.actions)

    @property
    def values(self) -> np.ndarray:
        """(C,) float64, what the critic expected at each chunk. Raises ValueError where no critic looked on."""
        values = [decision.value for decision in self.decisions]
        if not values or None in values:
            raise ValueError("no critic looked on while this episode was played")
        return np.array(values, np.float64)

    @property
    def total_reward(self) -> float:
        """Sum of the simulator's rewards."""
        return float(self.rewards.sum())
