"""One object that goes on a plate, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, Render
from ript.simulators.maniskill.put_on_plate.benchmark import PutOnPlateBenchmark
from ript.simulators.maniskill.put_on_plate.scene import PutOnPlateScene
from ript.simulators.maniskill.seeded_env import SeededEnv

ACTION_DIM = 7
"""Change of the target's position (3) in metres, and of its rotation (3) in radians; the gripper opens above 0.5."""
STATE_DIM = 8
"""Positions of the joints: arm (6) in radians, fingers (2) in metres."""
IMAGE, STATE = "3rd_view_camera_image", "joints"
"""Keys of an observation: the upright image `(S, S, 3)` and the state `(8,)`."""


class PutOnPlateEnv(SeededEnv[PutOnPlateScene]):
    """One task of a suite, stepped in chunks.

    For equal episodes and actions, states, rewards and success are those of RLinf's own environment.

    Args:
        suite: one of `ript.simulators.maniskill.put_on_plate.suites.SUITES`.
        task_id: the task's number in the suite.
        image_size: height and width of observation images in pixels; the picture itself has 640 × 480.
        render: there is no cheaper way, so both are the same.

    Raises:
        ValueError: unknown suite or task, another `render`, `image_size` below 2, or see `PutOnPlateBenchmark`.
        RuntimeError: see `PutOnPlateScene`.
    """

    def __init__(self, suite: str, task_id: int, image_size: int = 224, render: Render = "exact") -> None:
        one_of("render", render, RENDERS)
        if image_size < 2:
            raise ValueError(f"image_size must be at least 2, for a picture that is wider than high, got {image_size}")
        super().__init__(IMAGE, STATE, image_size, render_images=True)
        self._benchmark = PutOnPlateBenchmark(suite)
        self._benchmark.get_task_name(task_id)
        self._scene = PutOnPlateScene(self._benchmark)
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task, in the same scene. Raises ValueError for an unknown one; all then stays as it was."""
        name = self._benchmark.get_task_name(task_id)
        self._take_up(f"{self._benchmark.name} task {task_id} ({name})")
        self.scene.task_id = task_id

    def state(self) -> np.ndarray:
        """Proprioception `(8,)` float64 now."""
        return self.scene.joints()
