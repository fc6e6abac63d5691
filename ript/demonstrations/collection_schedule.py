"""Which task is tried next, so that each ends with the demonstrations asked for and no try is wasted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ript.demonstrations.demonstration_files import TaskFile, Try

logger = logging.getLogger(__name__)

_PATIENCE = 20
"""A task is given up when this many tries, and four more for each success, have failed."""


@dataclass(frozen=True)
class Job:
    """One try to make."""

    task_id: int
    number: int
    part: Path
    """Where its recording goes."""


@dataclass
class TaskProgress:
    """How far one task is."""

    task_id: int
    file: TaskFile
    wanted: int
    """Successes to collect."""
    in_flight: set[int] = field(default_factory=set)
    """Numbers of the tries being made."""

    @property
    def successes(self) -> int:
        """Demonstrations so far."""
        return sum(attempt.success for attempt in self.file.tries.values())

    @property
    def missing(self) -> int:
        """Successes still to be collected; 0 for a task that is given up."""
        failures = len(self.file.tries) - self.successes
        return 0 if failures >= _PATIENCE + 4 * self.successes else max(0, self.wanted - self.successes)

    def next_number(self) -> int | None:
        """The lowest number not yet tried; None while the tries being made may be enough.

        So the tries made are always the first ones, up to the last success wanted, whatever the number of workers.
        """
        if self.missing <= len(self.in_flight):
            return None
        number = 0
        while number in self.file.tries or number in self.in_flight:
            number += 1
        return number


class Schedule:
    """Hands out tries task by task."""

    def __init__(self, tasks: Sequence[TaskProgress]) -> None:
        self._tasks = {task.task_id: task for task in tasks}

    @property
    def wanted(self) -> int:
        """Successes asked for, over all tasks."""
        return sum(max(task.wanted, task.successes) for task in self._tasks.values())

    @property
    def successes(self) -> int:
        """Successes so far."""
        return sum(task.successes for task in self._tasks.values())

    @property
    def missing(self) -> int:
        """Successes still to be collected."""
        return sum(task.missing for task in self._tasks.values())

    @property
    def is_finished(self) -> bool:
        """Whether no try is left to make."""
        return self.missing == 0

    def next_job(self) -> Job | None:
        """The next try; None while none is to be started."""
        for task in self._tasks.values():
            number = task.next_number()
            if number is not None:
                task.file.prepare()
                task.in_flight.add(number)
                return Job(task.task_id, number, task.file.part(number))
        return None

    def finish(self, job: Job, attempt: Try) -> None:
        """Takes note of a try, and completes the task's file after its last."""
        task = self._tasks[job.task_id]
        task.in_flight.remove(job.number)
        task.file.add(attempt)
        self._merge_if_finished(task)

    def merge_finished(self) -> None:
        """Completes the files of tasks whose last try was made before."""
        for task in self._tasks.values():
            self._merge_if_finished(task)

    def describe(self) -> str:
        """`success 41/50`."""
        tries = sum(len(task.file.tries) for task in self._tasks.values())
        return f"success {self.successes}/{tries}"

    def _merge_if_finished(self, task: TaskProgress) -> None:
        if task.missing or task.in_flight:
            return
        if task.successes < task.wanted:
            name, tries = task.file.path.stem.removesuffix("_demo"), len(task.file.tries)
            logger.warning("gave up %s: %d successes in %d tries", name, task.successes, tries)
        task.file.merge()
