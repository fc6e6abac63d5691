"""What steps, resets and pictures of objects on plates cost, in one run, with the checkout that `RLINF_HOME` names.

    python benchmarks/put_on_plate_costs.py
    python benchmarks/put_on_plate_costs.py --repeats 20

Times are of the process on the CPU (of all its threads), medians of `--repeats`.
"""

import argparse
import time

import numpy as np
from cpu_time import milliseconds

from ript.simulators.maniskill.put_on_plate.env import PutOnPlateEnv

SUITE = "maniskill_put_on_plate_25"
SIZE = 224
STEPS = 20


def main() -> None:
    """Prints milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    actions = np.random.default_rng(0).uniform(-0.02, 0.02, (STEPS, 7))

    began = time.process_time()
    env = PutOnPlateEnv(SUITE, 0, SIZE)
    env.reset(0)
    print(f"from nothing to the first observation {time.process_time() - began:.1f} s")
    print(f"reset without a picture {milliseconds(lambda: env.scene.reset(0), options.repeats):.0f} ms")
    steps = milliseconds(lambda: env.step_chunk(actions, observe_last=False), options.repeats)
    print(f"a step without a picture {steps / STEPS:.1f} ms")
    print(f"picture {SIZE}² {milliseconds(lambda: env.render(SIZE), options.repeats):.0f} ms")
    env.close()


if __name__ == "__main__":
    main()
