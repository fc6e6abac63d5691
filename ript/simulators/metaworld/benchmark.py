"""Tasks, instructions and evaluation starts of MetaWorld's suites."""

from __future__ import annotations

from functools import cache

import numpy as np

from ript.checks import one_of
from ript.simulators.metaworld.tasks import INSTRUCTIONS, TASKS
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS, NamedTasks


class MetaWorldBenchmark(NamedTasks):
    """One suite of MetaWorld.

    Args:
        name: a suite of `ript.simulators.metaworld.SUITES`.

    Raises:
        ValueError: there is no such suite.
    """

    max_episode_length = 500
    """MetaWorld's own limit; published results of π0 have 500 steps, or 100."""

    num_steps_wait = 16
    """Steps with an action of zeros, as RLinf plays before an episode."""

    def __init__(self, name: str) -> None:
        one_of("suite", name, tuple(TASKS))
        super().__init__(name, {task: INSTRUCTIONS[task] for task in TASKS[name]})

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation starts `(100, D)` float64, D 3 or 6; drawing them takes a second, once per task."""
        return _evaluation_starts(self.get_task_name(task_id)).copy()


@cache
def _evaluation_starts(task_name: str) -> np.ndarray:
    from ript.simulators.metaworld.scene import TaskScene  # imports mujoco: after rendering is configured

    scene = TaskScene(task_name)
    try:
        return np.stack([scene.draw(EVALUATION_SEED + index) for index in range(EVALUATION_STARTS)])
    finally:
        scene.close()
