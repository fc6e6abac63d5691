"""One ManiSkill task, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, Observation, Render, StartOfEpisode
from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.maniskill.scene import TaskScene
from ript.simulators.stepped_env import SteppedEnv

ACTION_DIM = 7
"""Change of position (3), tenths of a metre, and of rotation (3), tenths of a radian; gripper 1 open to −1 closed."""
STATE_DIM = 9
"""Pose of the hand: position (3) in metres, quaternion w, x, y, z; positions of the fingers (2) in metres."""
IMAGE, STATE = "base_camera_image", "hand_and_fingers"
"""Keys of an observation: the upright image `(S, S, 3)` and the state `(9,)`."""

MOST_SEED = 2**32 - 1
"""NumPy's generator, which ManiSkill seeds, takes no more."""

_DO_NOTHING = np.array([0.0, 0, 0, 0, 0, 0, 1])
"""Stay, with the gripper as open as at the start."""


class ManiSkillEnv(SteppedEnv):
    """One task of a ManiSkill suite, stepped in chunks.

    For equal starts and actions, states and rewards are those of ManiSkill's own environment; so are images, but those
    of PickCube, which show the goal.

    Args:
        suite: a suite of `ript.simulators.maniskill.SUITES`.
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
        super().__init__(ACTION_DIM, image_size, render_images)
        self._benchmark = ManiSkillBenchmark(suite)
        self._scene: TaskScene | None = None
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task of the suite. Raises ValueError for an unknown one; all then stays as it was."""
        name = self._benchmark.get_task_name(task_id)
        self.close()
        self._take_up(f"{self._benchmark.name} task {task_id} ({name})")
        self._scene = TaskScene(name, self._image_size if self._render_images else None)

    @property
    def scene(self) -> TaskScene:
        """ManiSkill's environment, for code that needs privileged state. Raises RuntimeError after `close`."""
        if self._scene is None:
            raise RuntimeError(f"{self._label} is closed")
        return self._scene

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 0) -> StartOfEpisode:
        """Start an episode.

        Args:
            scene_seed: what ManiSkill draws the scene from, where no start is given.
            init_state: the start `(1,)`: another seed.
            num_steps_wait: steps without a change of pose before the episode.

        Raises:
            ValueError: negative seed or wait, or a start that is not one seed.
        """
        scene = self.scene
        self._begin_reset(scene_seed, num_steps_wait)
        start = np.array([scene_seed] if init_state is None else init_state, np.float64)
        scene.reset(self._seed_of(start))
        init_hash = scene.hash()
        for _ in range(num_steps_wait):
            scene.step(_DO_NOTHING)
        self._start_episode()
        return StartOfEpisode(self._observe(), start, init_hash)

    def state(self) -> np.ndarray:
        """Proprioception `(9,)` float64 now."""
        return np.concatenate([self.scene.hand(), self.scene.fingers()])

    def render(self, size: int) -> np.ndarray:
        """An upright image `(size, size, 3)` uint8 of this very moment, for videos.

        Raises RuntimeError when the environment was made with `render_images=False`.
        """
        if not self._render_images:
            raise RuntimeError(f"{self._label} was made with render_images=False")
        return self.scene.picture(size)

    def close(self) -> None:
        """Free the simulation; a second call does nothing."""
        if self._scene is not None:
            self._scene.close()
        self._scene = None

    def _seed_of(self, start: np.ndarray) -> int:
        if start.shape != (1,) or not 0 <= start[0] <= MOST_SEED or start[0] != int(start[0]):
            raise ValueError(f"{self._label} needs a start of one seed, 0 to {MOST_SEED}, got {start.tolist()}")
        return int(start[0])

    def _step(self, action: np.ndarray) -> tuple[float, bool]:
        return self.scene.step(action)

    def _observe(self) -> Observation:
        seen: Observation = {STATE: self.state()}
        if self._render_images:
            seen[IMAGE] = self.scene.picture(self._image_size)
        return seen
