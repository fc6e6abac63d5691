"""One LIBERO suite as the runner and the collector see it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ript.demonstrations.task_demonstrator import DemonstratorSettings, TaskDemonstrator
from ript.env_runner.pi0_runner_utils import LiberoAdapter
from ript.env_runner.vec_env import MakePool, Render, VecEnv
from ript.env_runner.workers import EnvPool
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv
from ript.simulators.libero.expert.demonstrator import Demonstrator
from ript.simulators.libero.suites import PACKAGES
from ript.simulators.libero.task_attributes import task_attributes
from ript.simulators.rendering import configure_rendering


class LiberoSimulator:
    """A suite's tasks, environments and conventions: a `Simulator`, and one that can demonstrate its tasks.

    Raises ValueError naming the nearest suite, or where nothing can render.
    """

    packages = PACKAGES
    """The installed distributions on whose versions results depend."""

    demonstrations = Path("LIBERO/datasets")
    """Where demonstrations are, relative to the checkout."""

    def __init__(self, suite: str):
        configure_rendering()
        self.benchmark = LiberoBenchmark(suite)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> VecEnv:
        """Environments in processes of their own."""
        return make_pool(partial(LiberoEnv, self.benchmark.name, task_id, image_size, render=render), num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> LiberoAdapter:
        """LIBERO's conventions for a policy."""
        return LiberoAdapter(norm_stats, delta_actions)

    def make_demonstrator(self, settings: DemonstratorSettings) -> Callable[[], TaskDemonstrator]:
        """The scripted expert with a simulator of its own."""
        return partial(Demonstrator, settings)

    def file_attributes(self, task_id: int) -> dict[str, Any]:
        """What LIBERO's demonstration files say about a task."""
        return task_attributes(Path(self.benchmark.get_bddl_file(task_id)), self.benchmark.get_language(task_id))
