"""What ManiSkill's steps, resets and pictures cost, in one run.

    python benchmarks/maniskill_costs.py
    python benchmarks/maniskill_costs.py --task StackCube-v1 --repeats 20

Times are of the process on the CPU (of all its threads), medians of `--repeats`.
"""

import argparse
import time
from functools import partial

import numpy as np
from cpu_time import milliseconds

from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.maniskill.env import ManiSkillEnv
from ript.simulators.maniskill.tasks import SUITE

SIZES = (96, 128, 224)
STEPS = 50


def main() -> None:
    """Prints milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="PushCube-v1")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    task = ManiSkillBenchmark().get_task_id(options.task)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7))

    blind = ManiSkillEnv(SUITE, task, render_images=False)
    print(f"{options.task}: reset {milliseconds(lambda: blind.reset(0), options.repeats):.1f} ms")
    blind.reset(0)
    steps = milliseconds(lambda: blind.step_chunk(actions, observe_last=False), options.repeats)
    print(f"{STEPS} steps without a picture {steps:.0f} ms, {steps / STEPS:.1f} ms each")
    blind.close()

    for size in SIZES:
        began = time.process_time()
        env = ManiSkillEnv(SUITE, task, size)
        env.reset(0)
        first = time.process_time() - began
        picture = milliseconds(partial(env.render, size), options.repeats)
        print(f"picture {size}²: {picture:.0f} ms; {first:.1f} s from nothing to the first one of this size")
        env.close()


if __name__ == "__main__":
    main()
