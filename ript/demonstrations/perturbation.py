"""What makes demonstrations differ from one another: their scenes, and noise on the expert's commands."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

DEMONSTRATION_SEED = 3_000_000_000
"""Scene seeds of demonstrations start here and stay below 2³². Evaluation's are below 10⁶, those of training contexts
(`contexts.LAYOUT_SEED`) below 10⁶ + 2³¹: no demonstration shows a layout that is drawn there."""

NOISE_LEVELS = (0.0, 0.05, 0.1, 0.2)
"""Standard deviations of the noise on all action dimensions but the gripper's, one drawn for each episode."""
NOISE_MEMORY = 0.9
"""How much of a step's noise is still there at the next: it pushes the hand off its way for about ten steps, and the
expert's answer is smooth. Independent noise of the same effect makes actions jitter, which a policy cannot predict."""


def noise_steps(rng: np.random.Generator, level: float, width: int) -> Iterator[np.ndarray]:
    """Endless noise (width,): a stationary first-order autoregressive process of standard deviation `level`."""
    noise = rng.standard_normal(width)
    while True:
        yield level * noise
        noise = NOISE_MEMORY * noise + np.sqrt(1 - NOISE_MEMORY**2) * rng.standard_normal(width)


def demonstration_seed(seed: int, suite: str, task_id: int, number: int) -> int:
    """The scene seed of a task's try."""
    entropy = [seed, zlib.crc32(suite.encode()), task_id, number]
    return DEMONSTRATION_SEED + int(np.random.SeedSequence(entropy).generate_state(1)[0] % 2**30)
