"""The evaluation command on the plane. As a script it is the command in a process of its own, which can be killed."""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planar

import ript.evaluation.evaluate as evaluate
from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import Chunk, ChunkResult, Render
from ript.evaluation.__main__ import main


class FilmingVecEnv(planar.PlanarVecEnv):
    """Takes video frames when asked, and time, so that a test can kill it on the way."""

    def step_chunk(self, chunks: Sequence[Chunk | None]) -> list[ChunkResult | None]:
        time.sleep(float(os.environ.get("PLANAR_SECONDS_PER_CHUNK", "0")))
        pairs = zip(chunks, super().step_chunk(chunks), strict=True)
        return [result if chunk is None or result is None else _film(chunk, result) for chunk, result in pairs]


class FilmingSimulator(planar.PlanarSimulator):
    """The plane, with films."""

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: Any = None
    ) -> FilmingVecEnv:
        return FilmingVecEnv(task_id, num_envs)


class EvaluationRunner(Runner):
    """The real runner on the plane, with films."""

    def __init__(self, benchmark_name: str = "planar", **options: Any):
        super().__init__(FilmingSimulator(), **options)


def _film(chunk: Chunk, result: ChunkResult) -> ChunkResult:
    if chunk.frame_every is None:
        return result
    size = chunk.frame_size or planar.IMAGE_SIZE
    frame = np.full((size, size, 3), 128, np.uint8)
    return replace(result, frames=[frame] * (result.executed // chunk.frame_every))


def command(policy: Path, folder: Path, *more: str) -> list[str]:
    """A small evaluation: both tasks, four episodes, two at a time."""
    small = {"--suite": "planar", "--policy": policy, "--out": folder, "--episodes": 4, "--max-steps": 30}
    small |= {"--open-loop": 10, "--denoise-steps": 2, "--workers": 2, "--device": "cpu", "--videos": 0}
    return [str(word) for pair in small.items() for word in pair] + list(more)


if __name__ == "__main__":
    evaluate.SuiteRunner = EvaluationRunner
    main(sys.argv[1:])
