"""One CALVIN task, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, Observation, Render, StartOfEpisode
from ript.simulators.calvin.benchmark import CalvinBenchmark
from ript.simulators.calvin.scene import PlayTable, check_start
from ript.simulators.calvin.starts import GRIPPER, draw
from ript.simulators.stepped_env import SteppedEnv

ACTION_DIM = 7
"""Change of the arm's target: position (3) in fiftieths of a metre, Euler angles (3) in twentieths of a radian; gripper
1 open or −1 closed."""
STATE_DIM = 7
"""Pose of the hand: position (3) in metres, Euler angles (3); opening of the gripper in metres."""
STATIC, GRIPPER_VIEW, STATE = "rgb_static", "rgb_gripper", "robot_obs"
"""Keys of an observation: the upright images `(S, S, 3)` and `(G, G, 3)` and the state `(7,)`."""

STATIC_SIZE, GRIPPER_SIZE = 200, 84
"""CALVIN's own sizes; other sizes keep their ratio."""


class CalvinEnv(SteppedEnv):
    """One task of CALVIN, stepped in chunks.

    For equal starts and actions, states are those of CALVIN's own environment when it is new; so are exact images.

    Args:
        suite: a suite of `ript.simulators.calvin.SUITES`.
        task_id: the task's number in the suite.
        image_size: height and width of the static camera's images in pixels; the gripper camera's have 84/200 of it.
        render_images: False makes nothing to render with; observations then have no images.
        render: `fast` renders with PyBullet's TinyRenderer, so images are not those of CALVIN's own setting.

    Raises:
        ValueError: unknown suite or task, another `render`, or `image_size` below 3.
        RuntimeError: see `PlayTable`.
    """

    def __init__(
        self,
        suite: str,
        task_id: int,
        image_size: int = STATIC_SIZE,
        render_images: bool = True,
        render: Render = "exact",
    ) -> None:
        one_of("render", render, RENDERS)
        super().__init__(ACTION_DIM, image_size, render_images)
        self._gripper_size = round(image_size * GRIPPER_SIZE / STATIC_SIZE)
        if self._gripper_size < 1:
            raise ValueError(f"image_size must be at least 3, of which the gripper's is 84/200, got {image_size}")
        self._benchmark = CalvinBenchmark(suite)
        self._table: PlayTable | None = None
        self.load_task(task_id)
        self._table = PlayTable(render if render_images else None)

    def load_task(self, task_id: int) -> None:
        """Take up another task, on the same table. Raises ValueError for an unknown one; all then stays as it was."""
        self.task_name = self._benchmark.get_task_name(task_id)
        self._take_up(f"{self._benchmark.name} task {task_id} ({self.task_name})")

    @property
    def table(self) -> PlayTable:
        """CALVIN's environment, for code that needs privileged state. Raises RuntimeError after `close`."""
        if self._table is None:
            raise RuntimeError(f"{self._label} is closed")
        return self._table

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 0) -> StartOfEpisode:
        """Start an episode.

        Args:
            scene_seed: what the start is drawn from, where none is given.
            init_state: the start `(39,)`; see `ript.simulators.calvin.starts`.
            num_steps_wait: steps without a change of the target before the episode.

        Raises:
            ValueError: negative seed or wait, or what is no start.
        """
        table = self.table
        self._begin_reset(scene_seed, num_steps_wait)
        start = draw(self.task_name, scene_seed) if init_state is None else np.array(init_state, np.float64)
        check_start(start)
        table.reset(start)
        init_hash = table.hash()
        for _ in range(num_steps_wait):
            table.step(np.array([0, 0, 0, 0, 0, 0, start[GRIPPER]]))
        self._before = table.info()
        self._start_episode()
        return StartOfEpisode(self._observe(), start, init_hash)

    def go_on(self, task_id: int) -> Observation:
        """Take up another task where this one ended, as in CALVIN's rows of five."""
        self.load_task(task_id)
        self._before = self.table.info()
        self._start_episode()
        return self._observe()

    def render(self, size: int) -> np.ndarray:
        """The static camera's image `(size, size, 3)` uint8 of this very moment, for videos.

        Raises RuntimeError when the environment was made with `render_images=False`.
        """
        if not self._render_images:
            raise RuntimeError(f"{self._label} was made with render_images=False")
        return self.table.picture("static", size)

    def close(self) -> None:
        """Free the simulation; a second call does nothing."""
        if self._table is not None:
            self._table.close()
        self._table = None

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """CALVIN's gripper is told -1 or 1, nothing between them."""
        actions = super()._checked(actions)
        for row, grip in enumerate(actions[:, -1]):
            if grip not in (-1, 1):
                raise ValueError(f"actions[{row}, 6] is {grip}: CALVIN's gripper is told -1 or 1")
        return actions

    def _step(self, action: np.ndarray) -> tuple[float, bool]:
        success = self.table.achieved(self.task_name, self._before, self.table.step(action))
        return float(success), success

    def _observe(self) -> Observation:
        seen: Observation = {STATE: self.table.start()[:STATE_DIM]}
        if self._render_images:
            seen[STATIC] = self.table.picture("static", self._image_size)
            seen[GRIPPER_VIEW] = self.table.picture("gripper", self._gripper_size)
        return seen
