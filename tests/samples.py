"""Made-up episodes for tests of windows, losses and metrics."""

from typing import Any

import numpy as np

from ript.env_runner.episode import Episode


def observation(rng: np.random.Generator, size: int = 28) -> dict[str, Any]:
    images = {
        name: rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for name in ("base_0_rgb", "left_wrist_0_rgb")
    }
    return {"image": images, "state": rng.normal(size=8).astype(np.float32), "prompt": "reach the right"}


def episode(
    length: int,
    *,
    seed: int = 0,
    success: bool = False,
    task_id: int = 0,
    every: int = 50,
    horizon: int = 50,
    episode_id: int = 0,
) -> Episode:
    """An episode of `length` steps in chunks of `horizon`, observed every `every` steps."""
    rng = np.random.default_rng(seed)
    chunks = -(-length // horizon)
    executed = np.full(chunks, horizon)
    executed[-1] = length - horizon * (chunks - 1)
    starts = sorted({*range(0, length, every), *range(0, length, horizon)})
    rewards = np.zeros(length)
    rewards[-1] = float(success)
    return Episode(
        task_id=task_id,
        task_description="reach the right",
        init_hash=f"scene {seed}",
        actions=rng.uniform(-1, 1, (length, 7)),
        actions_normalized=rng.normal(size=(chunks, horizon, 7)).astype(np.float32),
        executed=executed,
        observations={start: observation(rng) for start in starts},
        states={start: rng.normal(size=8) for start in starts},
        rewards=rewards,
        success=success,
        episode_id=episode_id,
        score=float(success),
    )
