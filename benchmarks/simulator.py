"""What rendering only when the policy looks saves, as ratios measured in one run on real LIBERO.

    python benchmarks/simulator.py

One environment plays the same 50 random actions from the same scene: with both cameras at every step, as stock LIBERO
does, at every tenth, and after the last one only. The ways take turns; medians of `--repeats` chunks.
"""

import argparse
import statistics
import time

import numpy as np

from ript.env_runner.libero_env import LiberoEnv


def seconds_of_chunk(env: LiberoEnv, actions: np.ndarray, observe_every: int | None) -> float:
    """Resets to one scene, then plays a chunk."""
    env.reset(scene_seed=0)
    start = time.perf_counter()
    env.step_chunk(actions, observe_every=observe_every)
    return time.perf_counter() - start


def main() -> None:
    """Prints steps per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    env = LiberoEnv(options.suite, options.task, options.image_size)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    ways: dict[str, int | None] = {"every step": 1, "every 10th": 10, "the last": None}
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, every in ways.items():
            measured[name].append(seconds_of_chunk(env, actions, every))
    env.close()
    slowest = statistics.median(measured["every step"])
    print(f"{options.suite} task {options.task}, two cameras at {options.image_size}², chunks of 50 steps")
    for name, seconds in measured.items():
        median = statistics.median(seconds)
        print(f"rendered after {name:<11} {50 / median:6.1f} steps/s, {slowest / median:5.1f} × every step")


if __name__ == "__main__":
    main()
