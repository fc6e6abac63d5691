"""CALVIN's suite as the runner sees it."""

from __future__ import annotations

from functools import partial

from ript.env_runner.vec_env import MakePool, Render, VecEnv
from ript.env_runner.workers import EnvPool
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.calvin.adapter import CalvinAdapter
from ript.simulators.calvin.benchmark import CalvinBenchmark
from ript.simulators.calvin.env import CalvinEnv
from ript.simulators.calvin.tasks import PACKAGES


class CalvinSimulator:
    """The tasks, environments and conventions: a `Simulator`. It has no expert, so it demonstrates nothing.

    Raises ValueError naming the nearest suite.
    """

    packages = PACKAGES
    """The installed distributions on whose versions results depend."""

    def __init__(self, suite: str):
        self.benchmark = CalvinBenchmark(suite)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> VecEnv:
        """Environments in processes of their own; `fast` pictures are of PyBullet's TinyRenderer."""
        return make_pool(partial(CalvinEnv, self.benchmark.name, task_id, image_size, render=render), num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> CalvinAdapter:
        """CALVIN's conventions for a policy."""
        return CalvinAdapter(norm_stats, delta_actions)
