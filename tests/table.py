"""What the tests of CALVIN share. A user installs it from its source: without it the tests of the real one are skipped.

`StandIn` is not CALVIN: it is a table of numbers with the calls of `calvin_env` that this project makes, for what can
be checked without physics.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ript.simulators.calvin.starts import ROBOT_DIM
from ript.simulators.calvin.tasks import INSTALL, INSTRUCTIONS, SUITE


def need_calvin() -> None:
    """Skips the module that calls it at its top."""
    if find_spec("calvin_env") is None:
        pytest.skip(f"calvin_env is not installed: {INSTALL}", allow_module_level=True)


def task_id(name: str) -> int:
    return list(INSTRUCTIONS).index(name)


def write_stats(path: Path) -> Path:
    """Statistics of CALVIN's robot."""
    state = {"mean": [0.0, -0.2, 0.5, 3.0, 0.0, 1.5, 0.05], "std": [0.2] * 6 + [0.03]}
    groups = {"state": state, "actions": {"mean": [0.0] * 7, "std": [0.4] * 6 + [1.0]}}
    path.write_text(json.dumps({"norm_stats": groups}))
    return path


ACTIONS = np.random.default_rng(0).uniform(-1, 1, (40, 7))
ACTIONS[:, 6] = np.where(np.arange(40) // 10 % 2, 1, -1)


class StandIn:
    """A hand that goes where it is told and remembers, as CALVIN does, what was before a plain `reset`."""

    cid, ownsPhysicsClient = 0, True

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.closed = 0
        self.robot = SimpleNamespace(gripper_action=1, target_pos=np.zeros(3), target_orn=np.zeros(3))
        self.robot_obs, self.scene_obs, self.traces = np.zeros(ROBOT_DIM), np.zeros(24), 0.0
        self.cameras = [StandInCamera(self, 200), StandInCamera(self, 84)]
        self.p = SimpleNamespace(
            getNumBodies=lambda physicsClientId: 1,
            getBodyUniqueId=lambda number, physicsClientId: number,
            getBasePositionAndOrientation=lambda body, physicsClientId: ((0.0, 0.0, self.traces), (0.0, 0, 0, 1)),
            getBaseVelocity=lambda body, physicsClientId: ((0.0, 0, 0), (0.0, 0, 0)),
            getNumJoints=lambda body, physicsClientId: 0,
            getJointStates=lambda body, joints, physicsClientId: None,
        )

    def load(self) -> None:
        self.calls.append("load")
        self.traces = 0.0

    def reset(self, robot_obs: np.ndarray, scene_obs: np.ndarray) -> None:
        self.calls.append("reset")
        self.robot_obs, self.scene_obs = robot_obs.copy(), scene_obs.copy()

    def step(self, action: np.ndarray) -> tuple[None, int, bool, dict[str, Any]]:
        assert action[-1] in (-1, 1)
        self.robot_obs[:3] += 0.02 * action[:3]
        self.traces += 1
        for camera in self.cameras:
            camera.render()
        return None, 0, False, self.get_info()

    def get_info(self) -> dict[str, Any]:
        return {"x": self.robot_obs[0]}

    def get_state_obs(self) -> dict[str, np.ndarray]:
        self.robot_obs[-1] = self.robot.gripper_action
        return {"robot_obs": self.robot_obs, "scene_obs": self.scene_obs}

    def close(self) -> None:
        self.closed += 1


class StandInCamera:
    taken = 0

    def __init__(self, env: StandIn, size: int) -> None:
        self.env, self.width, self.height = env, size, size

    def render(self) -> tuple[np.ndarray, None]:
        StandInCamera.taken += 1
        return np.full((self.height, self.width, 3), round(100 * self.env.robot_obs[0]) % 256, np.uint8), None


class StandInOracle:
    """Every task is to go 5 cm along x."""

    def get_task_info_for_set(self, start: dict[str, Any], end: dict[str, Any], tasks: set[str]) -> set[str]:
        return tasks if end["x"] - start["x"] > 0.05 else set()


__all__ = ["ACTIONS", "SUITE", "StandIn", "StandInCamera", "StandInOracle", "need_calvin", "task_id", "write_stats"]
