"""Tasks, instructions and evaluation starts of ManiSkill's suite."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.simulators.maniskill.tasks import INSTRUCTIONS, SUITE
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS, NamedTasks


class ManiSkillBenchmark(NamedTasks):
    """The tasks that need nothing but ManiSkill's package.

    Args:
        name: `ript.simulators.maniskill.tasks.SUITE`.

    Raises:
        ValueError: there is no such suite.
    """

    max_episode_length = 100
    """ManiSkill's own limit is 50 for most of them, 80 for RollBall, 100 for PullCubeTool, 250 for StackPyramid."""

    num_steps_wait = 0
    """Scenes are drawn at rest."""

    def __init__(self, name: str = SUITE) -> None:
        one_of("suite", name, (SUITE,))
        super().__init__(name, INSTRUCTIONS)

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation starts `(100, 1)` float64: a start is the seed that ManiSkill draws the scene from."""
        self.get_task_name(task_id)
        return EVALUATION_SEED + np.arange(EVALUATION_STARTS, dtype=np.float64)[:, None]
