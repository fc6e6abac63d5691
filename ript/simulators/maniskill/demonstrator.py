"""Demonstrates tasks with the scripted experts: what a collecting worker process runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ript.demonstrations.scripted_demonstrator import ScriptedDemonstrator
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.vec_env import Observation
from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.maniskill.env import IMAGE, ManiSkillEnv
from ript.simulators.maniskill.expert import PLANS, Follower


class Demonstrator(ScriptedDemonstrator[ManiSkillEnv]):
    """Solves the tasks that have an expert and writes down how."""

    moving = 3
    noise_scale = 0.25

    def __init__(self, settings: DemonstratorSettings) -> None:
        super().__init__(settings, ManiSkillEnv, ManiSkillBenchmark(settings.suite))

    @staticmethod
    def check(task_name: str) -> None:
        """Raises ValueError for a task that has no expert."""
        if task_name not in PLANS:
            raise ValueError(f"task={task_name!r} is not valid: it has no expert; those that have: {', '.join(PLANS)}")

    def commands(self, env: ManiSkillEnv) -> Iterator[np.ndarray]:
        """Along the way that is planned at the start."""
        follower = Follower(PLANS[env.scene.task_name](env.scene))
        while True:
            yield follower.command(env.scene.hand()[:3])

    def images(self, seen: Observation) -> Mapping[str, np.ndarray]:
        """The one camera, turned by 180° as files have it."""
        return {"base_0_rgb": seen[IMAGE][::-1, ::-1]}

    def row(self, env: ManiSkillEnv, action: np.ndarray, commanded: np.ndarray) -> Mapping[str, np.ndarray]:
        """Pose of the hand, positions of the fingers."""
        state = env.state()
        return {
            "actions": action,
            "expert_actions": commanded,
            "states": env.scene.state(),
            "obs/ee_states": state[:7],
            "obs/gripper_states": state[7:],
        }
