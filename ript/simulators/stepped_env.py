"""An environment whose pictures are taken on demand: what simulators share that can render after a step."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from ript.env_runner.vec_env import ChunkResult, Observation
from ript.simulators.chunks import check_intervals, checked_actions, is_due


class SteppedEnv(ABC):
    """Steps in chunks and looks only where a chunk asks.

    Args:
        action_dim: A, numbers of a command.
        image_size: height and width of observation images in pixels.
        render_images: False makes nothing to render with; observations then have no images.

    Raises:
        ValueError: `image_size` below 1.
    """

    def __init__(self, action_dim: int, image_size: int, render_images: bool) -> None:
        if image_size < 1:
            raise ValueError(f"image_size must be at least 1, got {image_size}")
        self._action_dim, self._image_size, self._render_images = action_dim, image_size, render_images
        self._label = "an environment without a task"
        self._steps = 0
        self._cannot_step: str | None = "step_chunk before the first reset"

    @abstractmethod
    def _step(self, action: np.ndarray) -> tuple[float, bool]:
        """One control step with a command `(A,)`: its reward, and whether the task is solved."""

    @abstractmethod
    def _observe(self) -> Observation:
        """What the policy sees now."""

    @abstractmethod
    def render(self, size: int) -> np.ndarray:
        """An upright image `(size, size, 3)` uint8 of this very moment, for videos."""

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
            actions: `(n, A)`.
            observe_every, observe_last, frame_every, frame_size: see `ript.env_runner.vec_env.Chunk`.

        Raises:
            ValueError: actions of another shape or not finite, an interval below 1, frames without
                `render_images`; nothing is stepped.
            RuntimeError: before the first reset, or after success.
        """
        if self._cannot_step is not None:
            raise RuntimeError(f"{self._label}: {self._cannot_step}")
        actions = self._checked(actions)
        check_intervals(self._label, self._render_images, observe_every, frame_every)
        rewards: list[float] = []
        observations: dict[int, Observation] = {}
        frames: list[np.ndarray] = []
        success = False
        for executed, action in enumerate(actions, start=1):
            reward, success = self._step(action)
            self._steps += 1
            rewards.append(reward)
            if observe_last if executed == len(actions) else is_due(executed, observe_every):
                observations[executed] = self._observe()
            if is_due(self._steps, frame_every):
                frames.append(self.render(frame_size or self._image_size))
            if success:
                self._cannot_step = "step_chunk after success; reset first"
                break
        return ChunkResult(np.array(rewards), len(rewards), success, observations, frames)

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        """The actions `(n, A)` float64 that a chunk executes. Raises ValueError for what the robot does not take."""
        return checked_actions(actions, self._action_dim)

    def _start_episode(self) -> None:
        """What a reset ends with."""
        self._steps = 0
        self._cannot_step = None

    def _begin_reset(self, scene_seed: int, num_steps_wait: int) -> None:
        """What a reset begins with; no step is taken until it has ended. Raises ValueError."""
        if scene_seed < 0 or num_steps_wait < 0:
            raise ValueError(f"scene_seed and num_steps_wait cannot be negative, got {scene_seed} and {num_steps_wait}")
        self._cannot_step = "step_chunk after a reset that failed"

    def _take_up(self, label: str) -> None:
        """A task was loaded."""
        self._label = label
        self._steps = 0
        self._cannot_step = "step_chunk before the first reset"
