"""One ManiSkill task, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, Render
from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.maniskill.scene import TaskScene
from ript.simulators.maniskill.seeded_env import SeededEnv

ACTION_DIM = 7
"""Change of position (3), tenths of a metre, and of rotation (3), tenths of a radian; gripper 1 open to −1 closed."""
STATE_DIM = 9
"""Pose of the hand: position (3) in metres, quaternion w, x, y, z; positions of the fingers (2) in metres."""
IMAGE, STATE = "base_camera_image", "hand_and_fingers"
"""Keys of an observation: the upright image `(S, S, 3)` and the state `(9,)`."""


class ManiSkillEnv(SeededEnv[TaskScene]):
    """One task of the suite `maniskill`, stepped in chunks.

    For equal starts and actions, states and rewards are those of ManiSkill's own environment; so are images, but those
    of PickCube, which show the goal.

    Args:
        suite: `ript.simulators.maniskill.tasks.SUITE`.
        task_id: the task's number in the suite.
        image_size: height and width of observation images in pixels.
        render_images: False makes nothing to render with; observations then have no images.
        render: there is no cheaper way, so both are the same.

    Raises:
        ValueError: unknown suite or task, another `render`, or `image_size` below 1.
    """

    def __init__(
        self,
        suite: str,
        task_id: int,
        image_size: int = 128,
        render_images: bool = True,
        render: Render = "exact",
    ) -> None:
        one_of("render", render, RENDERS)
        super().__init__(IMAGE, STATE, image_size, render_images)
        self._benchmark = ManiSkillBenchmark(suite)
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task of the suite. Raises ValueError for an unknown one; all then stays as it was."""
        name = self._benchmark.get_task_name(task_id)
        self.close()
        self._take_up(f"{self._benchmark.name} task {task_id} ({name})")
        self._scene = TaskScene(name, self._image_size if self._render_images else None)

    def state(self) -> np.ndarray:
        """Proprioception `(9,)` float64 now."""
        return np.concatenate([self.scene.hand(), self.scene.fingers()])
