"""One MetaWorld task, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, Observation, Render, StartOfEpisode
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.camera import Camera
from ript.simulators.metaworld.scene import CAMERA, TaskScene
from ript.simulators.stepped_env import SteppedEnv

ACTION_DIM = 4
"""Change of position (3) in hundredths of a metre, gripper −1 open to 1 closed."""
STATE_DIM = 4
"""Position of the hand (3) in metres, opening of the gripper 0 to 1."""
IMAGE, STATE = "corner2_image", "agent_pos"
"""Keys of an observation: the image `(S, S, 3)` as rendered, upside down, and the state `(4,)`."""

SHADOW_SIZES: Mapping[Render, int | None] = {"exact": None, "fast": 1024}
"""Side of the shadow map; None is MetaWorld's own, 4096."""

_DO_NOTHING = np.zeros(ACTION_DIM)


class MetaWorldEnv(SteppedEnv):
    """One task of a MetaWorld suite, stepped in chunks.

    For equal starts and actions, states, rewards and images are those of MetaWorld's own environment.

    Args:
        suite: a suite of `ript.simulators.metaworld.SUITES`.
        task_id: the task's number in the suite.
        image_size: height and width of observation images in pixels.
        render_images: False makes no OpenGL context; observations then have no images.
        render: `fast` has a smaller shadow map, so images are not MetaWorld's.

    Raises:
        ValueError: unknown suite or task, another `render`, or `image_size` below 1.
    """

    def __init__(
        self,
        suite: str,
        task_id: int,
        image_size: int = 480,
        render_images: bool = True,
        render: Render = "exact",
    ) -> None:
        one_of("render", render, RENDERS)
        super().__init__(ACTION_DIM, image_size, render_images)
        self._benchmark = MetaWorldBenchmark(suite)
        self._render = render
        self._scene: TaskScene | None = None
        self._camera: Camera | None = None
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task of the suite. Raises ValueError for an unknown one; all then stays as it was."""
        name = self._benchmark.get_task_name(task_id)
        self.close()
        self._take_up(f"{self._benchmark.name} task {task_id} ({name})")
        self._scene = TaskScene(name)
        if self._render_images:
            self._camera = Camera(self._scene.env.model, CAMERA, SHADOW_SIZES[self._render])

    @property
    def scene(self) -> TaskScene:
        """MetaWorld's environment, for code that needs privileged state. Raises RuntimeError after `close`."""
        if self._scene is None:
            raise RuntimeError(f"{self._label} is closed")
        return self._scene

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 0) -> StartOfEpisode:
        """Start an episode.

        Args:
            scene_seed: what the start is drawn from; it fixes nothing else.
            init_state: the start vector `(D,)`; None is the one drawn from the seed.
            num_steps_wait: steps with an action of zeros before the episode.

        Raises:
            ValueError: negative seed or wait, or a start that the task does not take.
        """
        scene = self.scene
        self._begin_reset(scene_seed, num_steps_wait)
        start = scene.draw(scene_seed) if init_state is None else np.array(init_state, np.float64)
        self.full_observation = scene.reset(start)
        init_hash = scene.hash()
        for _ in range(num_steps_wait):
            self.full_observation = scene.env.step(_DO_NOTHING)[0]
        self._start_episode()
        return StartOfEpisode(self._observe(), start, init_hash)

    def _step(self, action: np.ndarray) -> tuple[float, bool]:
        self.full_observation, reward, _, _, info = self.scene.env.step(action)
        return float(reward), bool(info["success"])

    def render(self, size: int) -> np.ndarray:
        """An upright image `(size, size, 3)` uint8 of this very moment, for videos.

        Raises RuntimeError when the environment was made with `render_images=False`.
        """
        if self._camera is None:
            raise RuntimeError(f"{self._label} was made with render_images=False")
        return np.ascontiguousarray(self._camera.picture(self.scene.env.data, size)[::-1, ::-1])

    def close(self) -> None:
        """Free the simulation and its OpenGL contexts; a second call does nothing."""
        if self._camera is not None:
            self._camera.close()
        if self._scene is not None:
            self._scene.close()
        self._camera = self._scene = None

    def _observe(self) -> Observation:
        seen: Observation = {STATE: np.array(self.full_observation[:STATE_DIM], np.float64)}
        if self._camera is not None:
            seen[IMAGE] = self._camera.picture(self.scene.env.data, self._image_size)
        return seen
