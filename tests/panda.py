"""What the tests of ManiSkill share. It is an extra: without it they are skipped, and say so."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ript.simulators.maniskill.tasks import INSTRUCTIONS, SET_UP, SUITE


def need_maniskill() -> None:
    """Skips the module that calls it at its top."""
    if find_spec("mani_skill") is None:
        pytest.skip(f"ManiSkill is not installed: {SET_UP}", allow_module_level=True)


def task_id(name: str) -> int:
    return list(INSTRUCTIONS).index(name)


def stock_env(name: str, **options: Any) -> Any:
    """ManiSkill's own environment, as its users make it."""
    import gymnasium
    import mani_skill.envs  # noqa: F401

    options = {"robot_uids": "panda", "control_mode": "pd_ee_delta_pose", "sim_backend": "physx_cpu"} | options
    return gymnasium.make(name, **options)


def write_stats(path: Path) -> Path:
    """Statistics of ManiSkill's robot."""
    state = {"mean": [0.0, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.03, 0.03], "std": [0.1] * 7 + [0.02] * 2}
    groups = {"state": state, "actions": {"mean": [0.0] * 7, "std": [0.3] * 7}}
    path.write_text(json.dumps({"norm_stats": groups}))
    return path


ACTIONS = np.random.default_rng(0).uniform(-1, 1, (40, 7))

__all__ = ["ACTIONS", "SUITE", "need_maniskill", "stock_env", "task_id", "write_stats"]
