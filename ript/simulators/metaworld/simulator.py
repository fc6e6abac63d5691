"""One MetaWorld suite as the runner and the collector see it."""

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
from ript.simulators.metaworld.adapter import MetaWorldAdapter
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.env import ACTION_DIM, MetaWorldEnv
from ript.simulators.metaworld.expert import Demonstrator
from ript.simulators.metaworld.tasks import PACKAGES
from ript.simulators.rendering import configure_rendering


class MetaWorldSimulator:
    """A suite's tasks, environments and conventions: a `Simulator`, and one that can demonstrate its tasks.

    Raises ValueError naming the nearest suite, or where nothing can render.
    """

    packages = PACKAGES
    """The installed distributions on whose versions results depend."""

    demonstrations = Path("MetaWorld/datasets")
    """Where demonstrations are, relative to the checkout."""

    def __init__(self, suite: str):
        configure_rendering()
        self.benchmark = MetaWorldBenchmark(suite)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> VecEnv:
        """Environments in processes of their own; `fast` is a smaller shadow map."""
        return make_pool(partial(MetaWorldEnv, self.benchmark.name, task_id, image_size, render=render), num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> MetaWorldAdapter:
        """MetaWorld's conventions for a policy."""
        return MetaWorldAdapter(norm_stats, delta_actions)

    def make_demonstrator(self, settings: DemonstratorSettings) -> Callable[[], TaskDemonstrator]:
        """MetaWorld's own scripted experts with a simulator."""
        return partial(Demonstrator, settings)

    def file_attributes(self, task_id: int) -> dict[str, Any]:
        """What a task's demonstration file says."""
        robot = RobotLayout(MetaWorldAdapter.cameras, actions=ACTION_DIM, ee_states=3, gripper_states=1)
        return {
            "env_name": self.benchmark.get_task_name(task_id),
            "problem_info": json.dumps({"language_instruction": self.benchmark.get_language(task_id)}),
            ROBOT: robot.to_json(),
        }
