"""How the stepping of real LIBERO scales over simulator processes, as ratios measured in one run.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --suite libero_spatial --processes 4

Each process plays the same 50 random actions from the same scene; with an image after the last one, as the runner has
it, and without. One process alone and all of them at once take turns; medians of `--repeats` chunks of wall time, so
keep the machine idle. The efficiency is the steps per second of all over those of one, per process: 1 is as fast as can
be.
"""

import argparse
import os
import statistics
import time
from functools import partial

import numpy as np

from ript.env_runner.vec_env import Chunk, Start
from ript.env_runner.workers import EnvPool
from ript.simulators.libero.env import LiberoEnv


def seconds_of_chunk(pool: EnvPool, playing: int, chunk: Chunk) -> float:
    """All start from one scene, and the first `playing` of them execute the chunk."""
    pool.reset([Start(scene_seed=0)] * pool.num_envs)
    chunks = [chunk if i < playing else None for i in range(pool.num_envs)]
    start = time.perf_counter()
    pool.step_chunk(chunks)
    return time.perf_counter() - start


def compare(pool: EnvPool, chunk: Chunk, repeats: int) -> dict[int, float]:
    """Steps per second of one process and of all."""
    ways = (1, pool.num_envs)
    measured: dict[int, list[float]] = {playing: [] for playing in ways}
    for _ in range(repeats):
        for playing in ways:
            measured[playing].append(seconds_of_chunk(pool, playing, chunk))
    return {n: n * len(chunk.actions) / statistics.median(seconds) for n, seconds in measured.items()}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_object")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="default: one per core")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if options.processes < 2:
        parser.error(f"--processes={options.processes} is not valid: must be at least 2")
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    make_env = partial(LiberoEnv, options.suite, options.task, options.image_size)
    with EnvPool(make_env, options.processes) as pool:
        seconds_of_chunk(pool, options.processes, Chunk(actions))  # the first one compiles
        for what, looks in (("an image at the end", True), ("no image", False)):
            speeds = compare(pool, Chunk(actions, observe_last=looks), options.repeats)
            alone, all_ = speeds[1], speeds[options.processes]
            print(
                f"{options.suite} task {options.task}, {what}: 1 process {alone:.1f} steps/s, {options.processes} "
                f"{all_:.1f} steps/s, efficiency {all_ / alone / options.processes:.2f}"
            )


if __name__ == "__main__":
    main()
