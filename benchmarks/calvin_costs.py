"""What CALVIN's steps, resets and pictures cost, in one run.

    python benchmarks/calvin_costs.py
    python benchmarks/calvin_costs.py --task stack_block --repeats 20

Times are of the process on the CPU (of all its threads), medians of `--repeats`. It needs `calvin_env`.
"""

import argparse
import time
from functools import partial

import numpy as np
from cpu_time import milliseconds

from ript.env_runner.vec_env import RENDERS
from ript.simulators.calvin.benchmark import CalvinBenchmark
from ript.simulators.calvin.env import GRIPPER_SIZE, STATIC_SIZE, CalvinEnv
from ript.simulators.calvin.tasks import SUITE

STEPS = 50


def main() -> None:
    """Prints milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="open_drawer")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    task = CalvinBenchmark().get_task_id(options.task)
    actions = np.random.default_rng(0).uniform(-0.2, 0.2, (STEPS, 7))
    actions[:, 6] = 1

    for render in RENDERS:
        began = time.process_time()
        env = CalvinEnv(SUITE, task, render=render)
        env.reset(0)
        print(f"{render}: {time.process_time() - began:.1f} s from nothing to the first observation")
        for camera, sizes in (("static", (96, STATIC_SIZE)), ("gripper", (40, GRIPPER_SIZE))):
            for size in sizes:
                picture = milliseconds(partial(env.table.picture, camera, size), options.repeats)
                print(f"{render}: {camera} picture {size}² {picture:.0f} ms")
        env.close()

    blind = CalvinEnv(SUITE, task, render_images=False)
    print(f"{options.task}: reset {milliseconds(lambda: blind.reset(0), options.repeats):.0f} ms")
    blind.reset(0)
    steps = milliseconds(lambda: blind.step_chunk(actions, observe_last=False), options.repeats)
    print(f"{STEPS} steps without a picture {steps:.0f} ms, {steps / STEPS:.1f} ms each")
    blind.close()


if __name__ == "__main__":
    main()
