"""One MetaWorld task, simulated in this process and rendered only when somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ript.checks import one_of
from ript.env_runner.vec_env import RENDERS, ChunkResult, Observation, Render, StartOfEpisode
from ript.simulators.chunks import check_intervals, checked_actions, is_due
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.camera import Camera
from ript.simulators.metaworld.scene import CAMERA, TaskScene

ACTION_DIM = 4
"""Change of position (3) in hundredths of a metre, gripper −1 open to 1 closed."""
STATE_DIM = 4
"""Position of the hand (3) in metres, opening of the gripper 0 to 1."""
IMAGE, STATE = "corner2_image", "agent_pos"
"""Keys of an observation: the image `(S, S, 3)` as rendered, upside down, and the state `(4,)`."""

SHADOW_SIZES: Mapping[Render, int | None] = {"exact": None, "fast": 1024}
"""Side of the shadow map; None is MetaWorld's own, 4096."""

_DO_NOTHING = np.zeros(ACTION_DIM)


class MetaWorldEnv:
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
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self._benchmark = MetaWorldBenchmark(suite)
        self._image_size, self._render = image_size, render
        self._render_images = render_images
        self._scene: TaskScene | None = None
        self._camera: Camera | None = None
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        """Take up another task of the suite. Raises ValueError for an unknown one; all then stays as it was."""
        name = self._benchmark.get_task_name(task_id)
        self.close()
        self._label = f"{self._benchmark.name} task {task_id} ({name})"
        self._scene = TaskScene(name)
        if self._render_images:
            self._camera = Camera(self._scene.env.model, CAMERA, SHADOW_SIZES[self._render])
        self._state = np.zeros(STATE_DIM)
        self._steps = 0
        self._cannot_step: str | None = "step_chunk before the first reset"

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
        if scene_seed < 0 or num_steps_wait < 0:
            raise ValueError(f"scene_seed and num_steps_wait cannot be negative, got {scene_seed} and {num_steps_wait}")
        scene = self.scene
        self._cannot_step = "step_chunk after a reset that failed"
        start = scene.draw(scene_seed) if init_state is None else np.array(init_state, np.float64)
        self.full_observation = scene.reset(start)
        init_hash = scene.hash()
        for _ in range(num_steps_wait):
            self.full_observation = scene.env.step(_DO_NOTHING)[0]
        self._steps = 0
        self._cannot_step = None
        return StartOfEpisode(self._observe(), start, init_hash)

    def step_chunk(
        self,
        actions: np.ndarray,
        observe_every: int | None = None,
        observe_last: bool = True,
        frame_every: int | None = None,
        frame_size: int | None = None,
    ) -> ChunkResult:
        """Execute actions one by one until they are used up or the task is solved.

        Args:
            actions: `(n, 4)`.
            observe_every, observe_last, frame_every, frame_size: see `ript.env_runner.vec_env.Chunk`.

        Raises:
            ValueError: actions of another shape or not finite, an interval below 1, frames without
                `render_images`; nothing is stepped.
            RuntimeError: before the first reset, or after success.
        """
        scene = self.scene
        if self._cannot_step is not None:
            raise RuntimeError(f"{self._label}: {self._cannot_step}")
        actions = checked_actions(actions, ACTION_DIM)
        check_intervals(self._label, self._camera is not None, observe_every, frame_every)
        rewards: list[float] = []
        observations: dict[int, Observation] = {}
        frames: list[np.ndarray] = []
        success = False
        for executed, action in enumerate(actions, start=1):
            self.full_observation, reward, _, _, info = scene.env.step(action)
            self._steps += 1
            rewards.append(float(reward))
            success = bool(info["success"])
            if observe_last if executed == len(actions) else is_due(executed, observe_every):
                observations[executed] = self._observe()
            if is_due(self._steps, frame_every):
                frames.append(self.render(frame_size or self._image_size))
            if success:
                self._cannot_step = "step_chunk after success; reset first"
                break
        return ChunkResult(np.array(rewards), len(rewards), success, observations, frames)

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
