"""The evaluation command on the plane. As a script it is the command in a process of its own, which can be killed."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import planar

import ript.evaluation.evaluate as evaluate
from ript.env_runner.vec_env import ChunkResult
from ript.evaluation.__main__ import main


class FilmingPool(planar.PlanarPool):
    """Takes video frames when asked, and time, so that a test can kill it on the way."""

    def step_chunk(self, requests: Sequence[Mapping[str, Any] | None]) -> list[Any]:
        time.sleep(float(os.environ.get("PLANAR_SECONDS_PER_CHUNK", "0")))
        pairs = zip(requests, super().step_chunk(requests), strict=True)
        return [_film(request, result) if request else None for request, result in pairs]


class EvaluationRunner(planar.PlanarRunner):
    """The real runner on the plane, with films."""

    def make_pool(self, task_id: int) -> FilmingPool:
        return FilmingPool(task_id, self.num_parallel_envs)


def _film(request: Mapping[str, Any], result: ChunkResult) -> ChunkResult:
    if "frame_every" not in request:
        return result
    size = request["frame_size"] or planar.IMAGE_SIZE
    frame = np.full((size, size, 3), 128, np.uint8)
    return replace(result, frames=[frame] * (result.executed // request["frame_every"]))


def command(policy: Path, folder: Path, *more: str) -> list[str]:
    """A small evaluation: both tasks, four episodes, two at a time."""
    small = {"--suite": "planar", "--policy": policy, "--out": folder, "--episodes": 4, "--max-steps": 30}
    small |= {"--open-loop": 10, "--denoise-steps": 2, "--workers": 2, "--device": "cpu", "--videos": 0}
    return [str(word) for pair in small.items() for word in pair] + list(more)


if __name__ == "__main__":
    evaluate.Pi0LiberoRunner = EvaluationRunner
    main(sys.argv[1:])
