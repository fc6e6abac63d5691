"""Tasks, instructions and evaluation starts of MetaWorld's suites."""

from __future__ import annotations

from functools import cache

import numpy as np

from ript.checks import one_of
from ript.simulators.metaworld.tasks import INSTRUCTIONS, TASKS

EVALUATION_STARTS = 100
"""Per task."""
EVALUATION_SEED = 900_000
"""Evaluation start i of a task is drawn from the seed 900,000 + i. Training draws from seeds of 1,000,000 and more
(`contexts.LAYOUT_SEED`), demonstrations from 3,000,000,000 on: none of them is an evaluation start."""


class MetaWorldBenchmark:
    """One suite of MetaWorld.

    Args:
        name: a suite of `ript.simulators.metaworld.SUITES`.

    Raises:
        ValueError: there is no such suite.
    """

    name: str
    """The suite's name."""

    max_episode_length = 500
    """MetaWorld's own limit; published results of π0 have 500 steps, or 100."""

    num_steps_wait = 16
    """Steps with an action of zeros, as RLinf plays before an episode."""

    def __init__(self, name: str) -> None:
        one_of("suite", name, tuple(TASKS))
        self.name = name
        self.n_tasks = len(TASKS[name])

    def get_task_names(self) -> list[str]:
        """Names of all tasks, in the order of their ids."""
        return list(TASKS[self.name])

    def get_task_name(self, task_id: int) -> str:
        """The task's name. Raises ValueError for an id that there is not."""
        if not 0 <= task_id < self.n_tasks:
            raise ValueError(f"task id {task_id} of {self.name} is not in 0..{self.n_tasks - 1}")
        return TASKS[self.name][task_id]

    def get_task_id(self, task_name: str) -> int:
        """The id of the task called so. Raises ValueError naming the nearest and all valid ones."""
        one_of("task", task_name, TASKS[self.name])
        return TASKS[self.name].index(task_name)

    def get_language(self, task_id: int) -> str:
        """The instruction that a policy is prompted with. Raises ValueError for an id that there is not."""
        return INSTRUCTIONS[self.get_task_name(task_id)]

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
