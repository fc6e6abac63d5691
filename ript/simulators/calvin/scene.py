"""CALVIN's own environment with its scene under control: exact starts, and pictures on demand.

CALVIN's `reset` keeps traces of what was before: contacts, motors, which way the gripper was told to go. Loading all
bodies anew before it leaves none, in 0.15 s.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.vec_env import Render
from ript.simulators.calvin.installed import CAMERAS, make_env, make_oracle, quiet
from ript.simulators.calvin.starts import GRIPPER, LIGHTS, ROBOT_DIM, START_DIM
from ript.simulators.egl import choose_egl_device

EGL_DEVICE = "EGL_VISIBLE_DEVICES"
"""The environment variable that PyBullet's renderer reads."""

Info = Mapping[str, Any]
"""CALVIN's `get_info`: contacts and poses of all objects, what the oracle judges by."""


class PlayTable:
    """CALVIN's table, arm and blocks, in this process, which can have one at a time.

    Args:
        render: exact pictures with EGL, CALVIN's own setting, or fast ones with PyBullet's TinyRenderer; None takes
            no pictures.

    Raises:
        RuntimeError: `calvin_env` is incomplete, nothing renders, or this process has one already.
    """

    env: Any
    """CALVIN's environment. It has no cameras, so that a step takes no picture."""

    def __init__(self, render: Render | None = None) -> None:
        if render == "exact":
            os.environ.setdefault(EGL_DEVICE, str(choose_egl_device()))
        self._oracle = make_oracle()
        self.env = make_env(use_egl=render == "exact")
        self._cameras = dict(zip(CAMERAS, self.env.cameras, strict=True))
        self._renders = render is not None
        self.env.cameras = []
        if self.env.cid != 0:
            self.close()
            raise RuntimeError("a process can have one environment of calvin_env, which names no client in some calls")
        if self._renders:
            with quiet():
                for camera in CAMERAS:
                    self.picture(camera, 1)  # PyBullet lights a process's first two otherwise than all after them

    def reset(self, start: np.ndarray) -> None:
        """Puts everything to a start `(39,)`. Raises ValueError for what is none."""
        check_start(start)
        self.env.load()
        self.env.robot.gripper_action = int(start[GRIPPER])
        self.env.reset(robot_obs=start[:ROBOT_DIM], scene_obs=start[ROBOT_DIM:])

    def step(self, action: np.ndarray) -> Info:
        """One control step with a command `(7,)`, of which the last is −1 or 1."""
        info: Info = self.env.step(action)[3]
        return info

    def info(self) -> Info:
        """What the oracle judges by, now."""
        found: Info = self.env.get_info()
        return found

    def achieved(self, task: str, before: Info, now: Info) -> bool:
        """Whether CALVIN's oracle says that the task was done between the two."""
        return bool(self._oracle.get_task_info_for_set(before, now, {task}))

    def start(self) -> np.ndarray:
        """`(39,)` float64 as CALVIN observes it now: what a start is, but not what moves, or touches."""
        observed = self.env.get_state_obs()
        return np.concatenate([observed["robot_obs"], observed["scene_obs"]]).astype(np.float64)

    def state(self) -> np.ndarray:
        """All that moves `(D,)` float64: poses and velocities of bodies and joints, lights, the arm's target."""
        env, parts = self.env, [self.start()]
        for number in range(env.p.getNumBodies(physicsClientId=env.cid)):
            body = env.p.getBodyUniqueId(number, physicsClientId=env.cid)
            parts += env.p.getBasePositionAndOrientation(body, physicsClientId=env.cid)
            parts += env.p.getBaseVelocity(body, physicsClientId=env.cid)
            joints = range(env.p.getNumJoints(body, physicsClientId=env.cid))
            parts += [joint[:2] for joint in env.p.getJointStates(body, list(joints), physicsClientId=env.cid) or ()]
        parts += [env.robot.target_pos, env.robot.target_orn]
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def hash(self) -> str:
        """SHA-256 (hex) of `state`."""
        return hashlib.sha256(self.state().tobytes()).hexdigest()

    def picture(self, camera: str, size: int) -> np.ndarray:
        """`(size, size, 3)` uint8 of this very moment, upright. Raises RuntimeError where none are taken."""
        if not self._renders:
            raise RuntimeError("the table was made without pictures")
        own = self._cameras[camera]
        own.width = own.height = size
        return np.array(own.render()[0], np.uint8)

    def close(self) -> None:
        """Frees the simulation; a second call does nothing."""
        if self.env is not None:
            with quiet():
                self.env.close()
                self.env.ownsPhysicsClient = False  # calvin_env closes once more when it is collected
                self.env = None


def check_start(start: np.ndarray) -> None:
    """Raises ValueError unless it is one: 39 finite numbers, lights 0 or 1, gripper −1 or 1."""
    if start.shape != (START_DIM,) or not np.isfinite(start).all():
        raise ValueError(f"a start has {START_DIM} finite numbers, robot_obs and scene_obs, got {start.tolist()}")
    if not np.isin(start[LIGHTS], (0, 1)).all():
        raise ValueError(f"a start's lights are 0 or 1, got {start[LIGHTS].tolist()}")
    if start[GRIPPER] not in (-1, 1):
        raise ValueError(f"a start's gripper is -1 or 1, got {start[GRIPPER]}")
