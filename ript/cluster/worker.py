"""A rollout worker: a policy and its simulators in a process of its own, which plays the groups it is asked for."""

import logging
import os
import pickle
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import ray
import torch

from ript.algos.policies.actor import Sampler, acting_with
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.group_source import GroupRequest, play_groups
from ript.cluster.weights import fingerprint, load_arrays
from ript.env_runner.failure import EnvironmentFailure, NotFinite

logger = logging.getLogger(__name__)

TRIES = 2
"""So often a group is played in which the simulator fails. A simulator that died by chance gives the same episodes when
it is made anew; one that breaks down in this scene, or numbers that are not finite, would do so again."""


class RolloutWorker:
    """Plays groups. What `groups` returns depends on its arguments alone, so a call can be made again anywhere.

    Policy and simulators are made at the first call: a worker that was lost and restarted needs nothing else.

    Args:
        make_policy: `(device_id) → PI0_OFT_Policy`, the learner's before training.
        make_runner: the learner's runner.
        num_threads: torch's on a CPU.
        seed: torch's global seed before the policy is made, as in the learner.
        environment: variables that simulators read.
    """

    def __init__(
        self,
        make_policy: Callable[..., PI0_OFT_Policy],
        make_runner: Callable[[], Any],
        num_threads: int,
        seed: int,
        environment: Mapping[str, str],
    ):
        self._make_policy, self._make_runner = make_policy, make_runner
        self._num_threads, self._seed = num_threads, seed
        self._version: int | None = None
        os.environ.update(environment)

    @cached_property
    def policy(self) -> PI0_OFT_Policy:
        """On the GPU that Ray gave this worker, else on the CPU."""
        torch.set_num_threads(self._num_threads)
        torch.manual_seed(self._seed)
        return self._make_policy(device_id=0 if ray.get_gpu_ids() else None)

    @cached_property
    def runner(self) -> Any:
        """It starts its simulators when it first plays."""
        return self._make_runner()

    def process(self) -> int:
        """The number of its process."""
        return os.getpid()

    def fingerprint(self) -> str:
        """See `ript.cluster.weights.fingerprint`; also checks that policy and simulator go together."""
        self.runner.check_policy(self.policy)
        return fingerprint(self.policy)

    def groups(self, weights: list[Any], version: int, sampler: Sampler | None, request: GroupRequest) -> bytes:
        """The pickled groups of the request, or the pickled EnvironmentFailure.

        Pickled here, so that the learner owns their memory instead of borrowing it from the cluster's object store.

        Args:
            weights: a list of one reference to `Weights`, which is fetched only if the version is new.
            version: of the weights; equal versions are equal weights.
            sampler: see `acting_with`.
        """
        if version != self._version:
            self._version = None
            load_arrays(self.policy, ray.get(weights[0]))
            self._version = version
        return pickle.dumps(self._play(request, sampler))

    def close(self) -> None:
        """Ends the simulators."""
        if "runner" in vars(self):
            self.runner.close()

    def _play(self, request: GroupRequest, sampler: Sampler | None) -> Any:
        actor = acting_with(self.policy, sampler)
        failure: EnvironmentFailure | None = None
        for _ in range(TRIES):
            try:
                return list(play_groups(self.runner, actor, request))
            except NotFinite as error:
                return error
            except EnvironmentFailure as error:
                self.runner.close()
                logger.warning("contexts %s are played again: %s", list(request.context_ids), error.brief)
                failure = error
        return failure
