"""Groups played by the learner, on simulators that run elsewhere."""

import logging
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import ray

from ript.algos.rl_optimizers.group_source import GroupRequest, LocalGroups
from ript.checks import in_range
from ript.cluster.env_pool import RayEnvPool
from ript.cluster.placement import check_placement, join, node_resources
from ript.cluster.worker import TRIES
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.failure import EnvironmentFailure, NotFinite

logger = logging.getLogger(__name__)


class RemoteSimulators(LocalGroups):
    """A `GroupSource` that plays groups in this process, and puts the runner's environments into a Ray cluster.

    They are made there whenever the runner makes some, for evaluation too. A group in which one fails is played again.

    Args:
        env_runner: the learner's `Runner`.
        address: of the cluster; see `RemoteGroups`.
        resources: what each environment takes of a node: `{"CPU": 1}`.
        start_s: seconds for all environments of a rank to be ready.

    Raises ValueError in one line when there is no such cluster, or the environments of all ranks do not fit into it.
    """

    def __init__(
        self, env_runner: Any, address: str, resources: Mapping[str, float], start_s: float, distributed: Distributed
    ):
        super().__init__(env_runner)
        in_range("cluster.timeouts.start_s", start_s, 1e-3)
        self._resources, self._start_s = dict(resources), start_s
        self._joined = join(address, distributed.world_size)
        count = env_runner.num_parallel_envs * distributed.world_size
        check_placement(resources, count, node_resources(), "algo.num_parallel_envs", "simulators")
        env_runner.make_pool = self._make_pool

    def _make_pool(self, make_env: Callable[[], Any], num_envs: int) -> RayEnvPool:
        pool = RayEnvPool(make_env, num_envs, self._resources, self._start_s)
        logger.info("%d simulators are ready in the cluster", num_envs)
        return pool

    def play(self, request: GroupRequest) -> Iterator[list[Episode]]:
        """The groups, each as soon as it is complete. Raises EnvironmentFailure when one fails again."""
        done = 0
        for tries_left in reversed(range(TRIES)):
            try:
                for group in islice(super().play(request), done, None):
                    done += 1
                    yield group
                return
            except NotFinite:
                raise
            except EnvironmentFailure as error:
                if not tries_left:
                    raise
                logger.warning("contexts %s are played again: %s", list(request.context_ids), error.brief)
                self.recover()

    def close(self) -> None:
        """Ends the simulators, and leaves the cluster, if it was joined here."""
        self._runner.close()
        if self._joined:
            ray.shutdown()
            self._joined = False
