"""Simulators that break down on request."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from planar import PlanarSimulator, PlanarVecEnv
from plane import PlaneInProcess

from ript.env_runner.failure import EnvironmentFailure
from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import Chunk, ChunkResult, Render
from ript.env_runner.workers import EnvPool


class ProcessesSimulator(PlanarSimulator):
    """The plane with an `EnvPool`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: Any = None
    ) -> Any:
        pool = EnvPool(partial(PlaneInProcess, self.folder, task_id), num_envs)
        pool._timeout_s = 1.0
        return pool


class FailingVecEnv(PlanarVecEnv):
    """In this process; `spoil(results)` may raise, or change what the chunks of all environments gave."""

    def __init__(self, task_id: int, num_envs: int, spoil: Callable[[list[ChunkResult | None]], Any]):
        super().__init__(task_id, num_envs)
        self.spoil = spoil

    def step_chunk(self, chunks: Sequence[Chunk | None]) -> list[ChunkResult | None]:
        for chunk in chunks:
            assert chunk is None or np.isfinite(chunk.actions).all(), "NaN reached the simulator"
        results = super().step_chunk(chunks)
        changed: list[ChunkResult | None] = self.spoil(results)
        return changed


class FailingSimulator(PlanarSimulator):
    """The plane, spoiled."""

    def __init__(self, spoil: Callable[[list[ChunkResult | None]], Any]):
        self.spoil = spoil
        self.made = 0
        """So often were the environments made."""

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: Any = None
    ) -> PlanarVecEnv:
        self.made += 1
        return FailingVecEnv(task_id, num_envs, self.spoil)


def failing_runner(spoil: Callable[[list[ChunkResult | None]], Any], **options: Any) -> Runner:
    """The runner on it."""
    return Runner(FailingSimulator(spoil), **{"num_parallel_envs": 4, "image_size": 28, **options})


class BreaksDown:
    """Raises in the chunks with these numbers, counted over all environments ever made."""

    def __init__(self, *numbers: int):
        self.numbers, self.calls = numbers, 0

    def __call__(self, results: list[ChunkResult | None]) -> list[ChunkResult | None]:
        self.calls += 1
        if self.calls - 1 in self.numbers:
            raise EnvironmentFailure("environment worker 0 died with exit code -9")
        return results


broken = False
"""Whether planes of `BreakingRunner` fail."""


class BreakingRunner(Runner):
    """For whole runs: `failing.broken` breaks its environments."""

    def __init__(self, benchmark_name: str = "planar", **options: Any):
        super().__init__(FailingSimulator(_while_broken), **options)


def _while_broken(results: list[ChunkResult | None]) -> list[ChunkResult | None]:
    if broken:
        raise EnvironmentFailure("environment worker 0 died with exit code -9")
    return results


class NoReward:
    """A reward function that divides by zero."""

    def compute_reward(self, i: int, episode: Any, batch: Any) -> float:
        return float("nan")
