"""The suites of objects on plates, as the runner sees them."""

from __future__ import annotations

from functools import partial

from ript.env_runner.vec_env import MakePool, Render, VecEnv
from ript.env_runner.workers import EnvPool
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.maniskill.put_on_plate.adapter import PutOnPlateAdapter
from ript.simulators.maniskill.put_on_plate.benchmark import PutOnPlateBenchmark
from ript.simulators.maniskill.put_on_plate.env import PutOnPlateEnv
from ript.simulators.maniskill.tasks import PACKAGES


class PutOnPlateSimulator:
    """The tasks, environments and conventions: a `Simulator`. It has no expert, so it demonstrates nothing.

    Raises ValueError naming the nearest suite, or all that is missing of RLinf's code and the assets.
    """

    packages = PACKAGES
    """The installed distributions on whose versions results depend."""

    def __init__(self, suite: str):
        self.benchmark = PutOnPlateBenchmark(suite)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> VecEnv:
        """Environments in processes of their own; `fast` pictures are the exact ones."""
        return make_pool(partial(PutOnPlateEnv, self.benchmark.name, task_id, image_size, render=render), num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> PutOnPlateAdapter:
        """RLinf's conventions for a policy."""
        return PutOnPlateAdapter(norm_stats, delta_actions)
