"""ManiSkill's suite as the runner and the collector see it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ript.demonstrations.recording import ROBOT, RobotLayout
from ript.demonstrations.task_demonstrator import DemonstratorSettings, TaskDemonstrator
from ript.env_runner.vec_env import MakePool, Render, VecEnv
from ript.env_runner.workers import EnvPool
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.maniskill.adapter import ManiSkillAdapter
from ript.simulators.maniskill.benchmark import ManiSkillBenchmark
from ript.simulators.maniskill.demonstrator import Demonstrator
from ript.simulators.maniskill.env import ACTION_DIM, ManiSkillEnv
from ript.simulators.maniskill.tasks import PACKAGES


class ManiSkillSimulator:
    """The tasks, environments and conventions: a `Simulator`, and one that can demonstrate some of its tasks.

    Raises ValueError naming the nearest suite.
    """

    packages = PACKAGES
    """The installed distributions on whose versions results depend."""

    demonstrations = Path("ManiSkill/datasets")
    """Where demonstrations are, relative to the checkout."""

    def __init__(self, suite: str):
        self.benchmark = ManiSkillBenchmark(suite)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> VecEnv:
        """Environments in processes of their own; `fast` pictures are the exact ones."""
        return make_pool(partial(ManiSkillEnv, self.benchmark.name, task_id, image_size, render=render), num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> ManiSkillAdapter:
        """ManiSkill's conventions for a policy."""
        return ManiSkillAdapter(norm_stats, delta_actions)

    def make_demonstrator(self, settings: DemonstratorSettings) -> Callable[[], TaskDemonstrator]:
        """Our scripted experts with a simulator."""
        return partial(Demonstrator, settings)

    def file_attributes(self, task_id: int) -> dict[str, Any]:
        """What a task's demonstration file says. Raises ValueError for a task that has no expert."""
        Demonstrator.check(self.benchmark.get_task_name(task_id))
        robot = RobotLayout(ManiSkillAdapter.cameras, actions=ACTION_DIM, ee_states=7, gripper_states=2)
        return {
            "env_name": self.benchmark.get_task_name(task_id),
            "problem_info": json.dumps({"language_instruction": self.benchmark.get_language(task_id)}),
            ROBOT: robot.to_json(),
        }
