"""An environment of ManiSkill whose whole scene is drawn from one seed: what its suites share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Generic, Protocol, TypeVar

import numpy as np

from ript.env_runner.vec_env import Observation, StartOfEpisode
from ript.simulators.stepped_env import SteppedEnv

ACTION_DIM = 7
"""Change of position (3) and of rotation (3), and the gripper, of which 1 is open."""
MOST_SEED = 2**32 - 1
"""NumPy's generator, which ManiSkill seeds, takes no more."""

_DO_NOTHING = np.array([0.0, 0, 0, 0, 0, 0, 1])
"""Stay, with the gripper as open as at the start."""


class SeededScene(Protocol):
    """ManiSkill's own environment, of which a seed fixes all of the scene."""

    def reset(self, seed: int) -> None:
        """Draws the scene of a seed, 0 to 2³² − 1."""

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """One control step with a command `(7,)`: its reward, and success."""

    def hash(self) -> str:
        """SHA-256 (hex) of the scene now."""

    def picture(self, size: int) -> np.ndarray:
        """`(size, size, 3)` uint8 of this very moment, upright."""

    def close(self) -> None:
        """Frees the simulation."""


SceneT = TypeVar("SceneT", bound=SeededScene)


class SeededEnv(SteppedEnv, Generic[SceneT]):
    """A scene, stepped in chunks and rendered only when somebody looks.

    Args:
        image_key, state_key: keys of an observation: the image `(S, S, 3)` and the state.
        image_size: height and width of observation images in pixels.
        render_images: False makes nothing to render with; observations then have no images.

    Raises:
        ValueError: `image_size` below 1.
    """

    def __init__(self, image_key: str, state_key: str, image_size: int, render_images: bool) -> None:
        super().__init__(ACTION_DIM, image_size, render_images)
        self._image_key, self._state_key = image_key, state_key
        self._scene: SceneT | None = None

    @property
    def scene(self) -> SceneT:
        """ManiSkill's environment, for code that needs privileged state. Raises RuntimeError after `close`."""
        if self._scene is None:
            raise RuntimeError(f"{self._label} is closed")
        return self._scene

    @abstractmethod
    def state(self) -> np.ndarray:
        """Proprioception `(S,)` float64 now."""

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 0) -> StartOfEpisode:
        """Start an episode.

        Args:
            scene_seed: what the scene is drawn from, where no start is given.
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
        seen: Observation = {self._state_key: self.state()}
        if self._render_images:
            seen[self._image_key] = self.scene.picture(self._image_size)
        return seen
