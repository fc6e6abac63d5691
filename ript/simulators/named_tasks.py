"""A suite that is a table of tasks and sentences, and the seeds that evaluations draw from."""

from __future__ import annotations

from collections.abc import Mapping

from ript.checks import one_of

EVALUATION_STARTS = 100
"""Per task, where starts are drawn."""
EVALUATION_SEED = 900_000
"""Evaluation start i of a task is drawn from the seed 900,000 + i. Training draws from seeds of 1,000,000 and more
(`contexts.LAYOUT_SEED`), demonstrations from 3,000,000,000 on: none of them is an evaluation start."""


class NamedTasks:
    """The part of a `Benchmark` that is a table.

    Args:
        name: the suite's name.
        instructions: task → the sentence that a policy is prompted with, in the order of task ids.
    """

    name: str
    """The suite's name."""

    n_tasks: int
    """How many tasks it has; task ids run from 0 to n_tasks - 1."""

    def __init__(self, name: str, instructions: Mapping[str, str]) -> None:
        self.name = name
        self._instructions = dict(instructions)
        self.n_tasks = len(self._instructions)

    def get_task_names(self) -> list[str]:
        """Names of all tasks, in the order of their ids."""
        return list(self._instructions)

    def get_task_name(self, task_id: int) -> str:
        """The task's name. Raises ValueError for an id that there is not."""
        if not 0 <= task_id < self.n_tasks:
            raise ValueError(f"task id {task_id} of {self.name} is not in 0..{self.n_tasks - 1}")
        return self.get_task_names()[task_id]

    def get_task_id(self, task_name: str) -> int:
        """The id of the task called so. Raises ValueError naming the nearest and all valid ones."""
        one_of("task", task_name, tuple(self._instructions))
        return self.get_task_names().index(task_name)

    def get_language(self, task_id: int) -> str:
        """The instruction that a policy is prompted with. Raises ValueError for an id that there is not."""
        return self._instructions[self.get_task_name(task_id)]
