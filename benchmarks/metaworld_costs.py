"""What MetaWorld's steps, resets and pictures cost, and what a smaller shadow map changes, in one run.

    python benchmarks/metaworld_costs.py
    python benchmarks/metaworld_costs.py --task push-v3 --repeats 20

Times are of the process on the CPU (of all its threads), medians of `--repeats`; on a GPU pictures cost nearly nothing.
"""

import argparse

import numpy as np
from cpu_time import milliseconds

from ript.env_runner.vec_env import RENDERS
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.env import IMAGE, SHADOW_SIZES, MetaWorldEnv

SUITE = "metaworld_mt50"
SIZES = (96, 224, 480)
STEPS = 50


def main() -> None:
    """Prints milliseconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="drawer-open-v3")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    task = MetaWorldBenchmark(SUITE).get_task_id(options.task)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 4))

    blind = MetaWorldEnv(SUITE, task, render_images=False)
    start = blind.reset(0).init_state
    print(f"{options.task}: reset to a start {milliseconds(lambda: blind.reset(0, start), options.repeats):.1f} ms")
    print(f"reset to a scene of a seed {milliseconds(lambda: blind.reset(0), options.repeats):.1f} ms")
    steps = milliseconds(lambda: blind.step_chunk(actions, observe_last=False), options.repeats)
    print(f"{STEPS} steps without a picture {steps:.1f} ms, {1000 * STEPS / steps:.0f} steps/s")
    blind.close()

    for size in SIZES:
        pictures, times = [], []
        for render in RENDERS:
            env = MetaWorldEnv(SUITE, task, size, render=render)
            pictures.append(env.reset(0, num_steps_wait=16).observation[IMAGE].astype(float))
            times.append(milliseconds(env._observe, options.repeats))
            env.close()
        difference = np.abs(pictures[1] - pictures[0])
        print(
            f"picture {size}²: {times[0]:.0f} ms, with a shadow map of {SHADOW_SIZES['fast']} {times[1]:.0f} ms "
            f"({times[0] / times[1]:.2f}×); pixels differ by {difference.mean():.3f} of 255 on average, "
            f"{difference.max():.0f} at most"
        )


if __name__ == "__main__":
    main()
