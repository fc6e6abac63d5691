"""Demonstrates tasks with MetaWorld's own scripted experts: what a collecting worker process runs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ript.demonstrations.scripted_demonstrator import ScriptedDemonstrator
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.vec_env import Observation
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.env import IMAGE, MetaWorldEnv


class Demonstrator(ScriptedDemonstrator[MetaWorldEnv]):
    """Solves tasks of one suite with the scripted experts and writes down how."""

    moving = 3

    def __init__(self, settings: DemonstratorSettings) -> None:
        super().__init__(settings, MetaWorldEnv, MetaWorldBenchmark(settings.suite))

    def commands(self, env: MetaWorldEnv) -> Iterator[np.ndarray]:
        """The task's expert, which sees the goal too."""
        from metaworld.policies import ENV_POLICY_MAP  # imports mujoco: after rendering is configured

        make_expert: Any = ENV_POLICY_MAP[env.scene.task_name]
        expert = make_expert()
        while True:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Constant")  # that the command is clipped
                command = expert.get_action(env.full_observation)
            yield command

    def images(self, seen: Observation) -> Mapping[str, np.ndarray]:
        """The one camera, as rendered."""
        return {"base_0_rgb": seen[IMAGE]}

    def row(self, env: MetaWorldEnv, action: np.ndarray, commanded: np.ndarray) -> Mapping[str, np.ndarray]:
        """Position of the hand and opening of the gripper are the observation's first four numbers."""
        state = env.full_observation
        return {
            "actions": action,
            "expert_actions": commanded,
            "states": env.scene.state(),
            "obs/ee_states": state[:3],
            "obs/gripper_states": state[3:4],
        }
