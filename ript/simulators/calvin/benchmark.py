"""Tasks, instructions and evaluation starts of CALVIN's suite."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.simulators.calvin.starts import draw
from ript.simulators.calvin.tasks import INSTRUCTIONS, SUITE
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS, NamedTasks


class CalvinBenchmark(NamedTasks):
    """The 34 tasks of CALVIN, each by itself.

    Args:
        name: `ript.simulators.calvin.tasks.SUITE`.

    Raises:
        ValueError: there is no such suite.
    """

    max_episode_length = 360
    """Of CALVIN's evaluation, for each of the tasks in a row."""

    num_steps_wait = 0
    """Starts are at rest."""

    def __init__(self, name: str = SUITE) -> None:
        one_of("suite", name, (SUITE,))
        super().__init__(name, INSTRUCTIONS)

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation starts `(100, 39)` float64."""
        task = self.get_task_name(task_id)
        return np.stack([draw(task, EVALUATION_SEED + index) for index in range(EVALUATION_STARTS)])
