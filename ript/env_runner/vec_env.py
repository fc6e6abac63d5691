"""What the runner and a simulator say to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Observation = dict[str, np.ndarray]
"""What the simulator's adapter reads, as the simulator gives it."""


@dataclass(frozen=True)
class StartOfEpisode:
    """What a reset returns."""

    observation: Observation
    """The observation after the waiting steps."""

    init_state: np.ndarray
    """The flattened simulator state `(D,)` float64 the episode started from, before the waiting steps."""

    init_hash: str
    """SHA-256 (hex) of the scene; equal hashes mean the same fixtures and the same state, bit for bit."""


@dataclass(frozen=True)
class ChunkResult:
    """What happened while a chunk of actions was executed."""

    rewards: np.ndarray
    """`(executed,)` float64: 1 at the step that solved the task, else 0."""

    executed: int
    """Number of actions executed; fewer than given only when one of them solved the task."""

    success: bool
    """Whether the task was solved; the episode is then over."""

    observations: dict[int, Observation]
    """Observations by the number of actions of this chunk executed before them."""

    frames: list[np.ndarray]
    """Upright video frames `(H, W, 3)` uint8 of the agentview camera, oldest first."""
