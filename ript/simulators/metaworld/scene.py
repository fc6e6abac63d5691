"""MetaWorld's own environment of a task, and the start vector that fixes all of its scene.

MetaWorld draws a scene as one vector (`rand_vec`, of 3 or 6 numbers: where objects and the goal are) and writes it, at
a reset, into positions of the model and of the state. The same vector gives the same scene, in whatever environment.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ript.simulators.rendering import configure_rendering

configure_rendering()  # mujoco reads its choice when it is imported

import mujoco  # noqa: E402

CAMERA = "corner2"
CAMERA_POSITION = (0.75, 0.075, 0.7)
"""Where the public π0 checkpoints have it; MetaWorld's own place is farther away."""

_HASHED = ("body_pos", "body_quat", "geom_pos", "geom_quat", "geom_size", "site_pos", "eq_data")
"""Arrays of the model that tell scenes and tasks apart; resets write into bodies and sites."""
_MOST_DRAWS = 1000
_RESETS_OF_MODEL = 2
"""How often MetaWorld's `reset` resets the model, and so asks for a vector."""


class _AskedTooOften(Exception):
    """The task took none of the vectors that it was given."""


class TaskScene:
    """One task of MetaWorld with its scene under control.

    Args:
        task_name: such as `drawer-open-v3`.
    """

    env: Any
    """MetaWorld's environment, with the goal in its observation, as its experts need it."""

    def __init__(self, task_name: str) -> None:
        from metaworld.env_dict import ALL_V3_ENVIRONMENTS

        self.task_name = task_name
        env = self.env = ALL_V3_ENVIRONMENTS[task_name]()
        # As `set_task` does for MT50, without MT50's 75 seconds. The observation space was computed without the goal.
        env._partially_observable = False
        del env.sawyer_observation_space
        env._set_task_called = True
        env.max_path_length = sys.maxsize  # the runner ends episodes
        env.model.camera(CAMERA).pos = CAMERA_POSITION

    @property
    def start_width(self) -> int:
        """Numbers of a start vector."""
        return int(self.env._random_reset_space.low.size)

    def draw(self, seed: int) -> np.ndarray:
        """The start vector `(D,)` float64 of a seed, drawn from the task's own ranges until the task takes it."""
        space, rng = self.env._random_reset_space, np.random.default_rng(seed)
        drawn = np.zeros(0)

        def next_vector() -> np.ndarray:
            nonlocal drawn
            drawn = rng.uniform(space.low, space.high)
            return drawn.copy()

        self._provide(next_vector, _MOST_DRAWS)
        self.env.reset_model()
        return drawn

    def reset(self, start: np.ndarray) -> np.ndarray:
        """Starts from a vector `(D,)`; returns the observation `(39,)`.

        Raises:
            ValueError: another width, not finite, outside of the task's ranges, or with objects too near the goal.
        """
        space = self.env._random_reset_space
        start = np.array(start, np.float64)
        if start.shape != space.low.shape or not np.isfinite(start).all():
            raise ValueError(f"{self.task_name} needs a start of {space.low.size} finite numbers, got {start.tolist()}")
        if not ((space.low <= start) & (start <= space.high)).all():
            raise ValueError(f"{self.task_name}: start {start.tolist()} is not within {space.low} to {space.high}")
        self._provide(start.copy, _RESETS_OF_MODEL)
        try:
            return np.asarray(self.env.reset()[0])
        except _AskedTooOften:
            raise ValueError(f"{self.task_name} does not start from {start.tolist()}: too near its goal") from None

    def state(self) -> np.ndarray:
        """The simulator's whole state `(D,)` float64: time, joints, mocap, control, warm start."""
        env, what = self.env, mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(env.model, what))
        mujoco.mj_getState(env.model, env.data, state, what)
        return state

    def hash(self) -> str:
        """SHA-256 (hex) of the task, of where the model has everything, of the goal, and of the state now."""
        env = self.env
        digest = hashlib.sha256(self.task_name.encode())
        for array in (*(getattr(env.model, name) for name in _HASHED), env._target_pos, self.state()):
            digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Frees what MetaWorld may have opened."""
        self.env.close()

    def _provide(self, next_vector: Callable[[], np.ndarray], most: int) -> None:
        """Gives the task its next vectors; one with objects too near the goal it does not take, and asks again."""
        asked = 0

        def provide() -> np.ndarray:
            nonlocal asked
            asked += 1
            if asked > most:
                raise _AskedTooOften
            return next_vector()

        self.env._get_state_rand_vec = provide
