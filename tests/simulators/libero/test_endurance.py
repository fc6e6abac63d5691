"""A simulator that lives long."""

import gc

import numpy as np
import psutil
import pytest

from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv

SUITE, TASK = "libero_object", 9
RESETS, STEPS, WARM_UP = 200, 50, 20
MIB = 2**20


def held() -> tuple[int, int, int]:
    """Resident bytes, open descriptors and child processes of this process."""
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, process.num_fds(), len(process.children(recursive=True))


@pytest.mark.slow
def test_200_resets_and_10000_steps_cost_at_most_50_mib_and_leave_nothing_open() -> None:
    states = LiberoBenchmark(SUITE).get_task_init_states(TASK)
    env = LiberoEnv(SUITE, TASK, image_size=96)
    rng = np.random.default_rng(0)
    for number in range(RESETS):
        if number == WARM_UP:
            memory, descriptors, children = held()
        env.reset(number, states[number % len(states)])
        env.step_chunk(np.clip(rng.normal(size=(STEPS, 7)), -1, 1), observe_every=10)
    later, later_descriptors, later_children = held()
    print(f"{(later - memory) / MIB:.1f} MiB more after {RESETS} resets and {RESETS * STEPS:,} steps")
    assert later - memory <= 50 * MIB
    assert (later_descriptors, later_children) == (descriptors, children)
    env.close()
    env.close()
