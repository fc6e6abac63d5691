"""What the simulator costs and what we save of it, as ratios measured in one run on real LIBERO.

    python benchmarks/simulator.py
    python benchmarks/simulator.py --no-images --suite libero_object

The same 50 random actions from the same scene. Rendering: both cameras at every step, as stock LIBERO does, at every
tenth, and after the last one only; then at every tenth, exact and fast images. Control steps: without any image,
LIBERO's own environment against ours in Python and compiled, in CPU time. The ways take turns; medians of `--repeats`
chunks.
"""

import argparse
import statistics
import time

import numba
import numpy as np

from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.control_env import make_control_env
from ript.simulators.libero.env import CAMERAS, LiberoEnv


def seconds_of_chunk(env: LiberoEnv, actions: np.ndarray, observe_every: int | None) -> float:
    """Resets to one scene, then plays a chunk."""
    env.reset(scene_seed=0)
    start = time.perf_counter()
    env.step_chunk(actions, observe_every=observe_every)
    return time.perf_counter() - start


def report(what: str, measured: dict[str, list[float]], steps: int) -> None:
    """Prints each way's steps per second, and how many times the first way's that is."""
    medians = {name: statistics.median(seconds) for name, seconds in measured.items()}
    reference, slowest = next(iter(medians.items()))
    for name, median in medians.items():
        print(f"{what} {name:<12} {steps / median:6.1f} steps/s, {slowest / median:5.2f} × {reference}")


def compare_rendering(env: LiberoEnv, actions: np.ndarray, repeats: int) -> None:
    """Prints steps per second with images at every step, at every tenth and at the last."""
    ways: dict[str, int | None] = {"every step": 1, "every 10th": 10, "the last": None}
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, every in ways.items():
            measured[name].append(seconds_of_chunk(env, actions, every))
    report("rendered after", measured, len(actions))


def compare_images(exact: LiberoEnv, fast: LiberoEnv, actions: np.ndarray, repeats: int) -> None:
    """Prints steps per second with exact and with fast images at every tenth step, and how far apart they are."""
    measured: dict[str, list[float]] = {"exact": [], "fast": []}
    for _ in range(repeats):
        for name, env in (("exact", exact), ("fast", fast)):
            measured[name].append(seconds_of_chunk(env, actions, 10))
    report("images,", measured, len(actions))
    images = [[env.reset(0).observation[name].astype(int) for name in CAMERAS] for env in (exact, fast)]
    print(f"images differ by {np.abs(np.subtract(*images)).mean():.2f} of 255 on average")


def compare_control_steps(suite: str, task: int, actions: np.ndarray, repeats: int) -> None:
    """Prints steps per second of CPU time without images, of LIBERO's own environment and of our two."""
    stock = make_control_env(LiberoBenchmark(suite).get_bddl_file(task), 64, render_images=False)
    ours = {"compiled": LiberoEnv(suite, task, render_images=False)}
    numba.config.DISABLE_JIT = True
    ours = {"in Python": LiberoEnv(suite, task, render_images=False)} | ours
    numba.config.DISABLE_JIT = False
    ours["compiled"].reset(scene_seed=0)  # which may compile
    measured: dict[str, list[float]] = {name: [] for name in ("LIBERO's own", *ours)}
    for _ in range(repeats):
        state = ours["compiled"].reset(scene_seed=0, num_steps_wait=0).init_state
        stock.reset()
        stock.set_init_state(state)
        start = time.process_time()
        for action in actions:
            stock.step(action)
        measured["LIBERO's own"].append(time.process_time() - start)
        for name, env in ours.items():
            env.reset(scene_seed=0, init_state=state, num_steps_wait=0)
            start = time.process_time()
            env.step_chunk(actions, observe_last=False)
            measured[name].append(time.process_time() - start)
    report("no image,", measured, len(actions))
    for env in ours.values():
        env.close()
    stock.close()


def main() -> None:
    """Prints steps per second and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_spatial")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-images", action="store_true", help="compare control steps only")
    options = parser.parse_args()
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    print(f"{options.suite} task {options.task}, two cameras at {options.image_size}², chunks of {len(actions)} steps")
    if not options.no_images:
        env = LiberoEnv(options.suite, options.task, options.image_size)
        compare_rendering(env, actions, options.repeats)
        fast = LiberoEnv(options.suite, options.task, options.image_size, render="fast")
        compare_images(env, fast, actions, options.repeats)
        fast.close()
        env.close()
    compare_control_steps(options.suite, options.task, actions, options.repeats)


if __name__ == "__main__":
    main()
