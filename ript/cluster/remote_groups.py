"""Groups played by rollout workers, on any machine of a Ray cluster."""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from ript.algos.policies.actor import Sampler, sampler_of
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.group_source import GroupRequest
from ript.checks import in_range, one_of, whole_number
from ript.cluster.placement import actor_options, check_placement, join, last_line, node_resources
from ript.cluster.stale_weights import FILE, read_stale_weights, write_stale_weights
from ript.cluster.weights import Weights, fingerprint, trainable_arrays
from ript.cluster.worker import RolloutWorker
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.failure import MOST_IN_A_ROW, EnvironmentFailure
from ript.env_runner.policy import Policy

logger = logging.getLogger(__name__)

CLOSE_S = 10.0
"""How long workers may take to end their simulators."""
Key = tuple[int, tuple[int, ...], bool]


class Asked(NamedTuple):
    """A request on its way."""

    answer: Any
    """Ray's reference to what `RolloutWorker.groups` returns."""
    worker: int


class RemoteGroups:
    """A `GroupSource` whose groups rollout workers play, each with a policy and simulators of its own.

    Results are taken in the order in which they are asked for, whatever worker is faster: with the same requests a run
    is the same for any number of workers, and as in this process. A worker that dies is started anew by Ray, on another
    node if it must, and plays its groups again.

    Args:
        address: of the cluster: `host:port`, `auto` (this machine's), or `local`, one that ends with this process.
        num_workers: of this rank.
        resources: what each takes of a node: `{"CPU": 4, "GPU": 1}`.
        staleness: 1: the weights that play are one iteration old, and workers play while the newest are trained.
        timeouts: seconds: `start_s` for all workers to be ready, `group_s` for the next answer of one.

    Raises ValueError in one line when there is no such cluster, or the workers do not fit into it.
    """

    def __init__(
        self,
        address: str,
        num_workers: int,
        resources: Mapping[str, float],
        staleness: int,
        timeouts: Mapping[str, float],
        distributed: Distributed,
    ):
        whole_number("cluster.num_workers", num_workers, 1)
        one_of("cluster.staleness", staleness, (0, 1))
        for name in ("start_s", "group_s"):
            in_range(f"cluster.timeouts.{name}", timeouts[name], 1e-3)
        self.staleness = staleness
        self._resources, self._num_workers, self._timeouts = dict(resources), num_workers, dict(timeouts)
        self._distributed = distributed
        self._joined = join(address, distributed.world_size)
        count = num_workers * distributed.world_size
        check_placement(resources, count, node_resources(), "cluster.num_workers", "rollout workers")
        self._workers: list[Any] = []
        self._asked: dict[Key, Asked] = {}
        self._weights: Any = None
        """Ray's reference to the weights that play."""
        self._version = 0
        """Counts the weights that were published."""
        self._iteration = -1
        """That the weights play in."""
        self._sampler: Sampler | None = None

    def start(
        self,
        policy: PI0_OFT_Policy,
        make_policy: Callable[..., PI0_OFT_Policy],
        make_runner: Callable[[], Any],
        num_threads: int,
        seed: int,
    ) -> None:
        """Starts the workers, and compares their policies with `policy`, the learner's.

        Raises ValueError, in one line, when they are not ready in time, or one has another policy.
        """
        named = {"MUJOCO_GL": os.environ["MUJOCO_GL"]} if "MUJOCO_GL" in os.environ else {}
        options = {**actor_options(self._resources), "max_restarts": -1, "max_task_retries": MOST_IN_A_ROW}
        actor = ray.remote(RolloutWorker).options(**options)
        arguments = (make_policy, make_runner, num_threads, seed, named)
        self._workers = [actor.remote(*arguments) for _ in range(self._num_workers)]
        own = fingerprint(policy)
        found = self._all_ready([worker.fingerprint.remote() for worker in self._workers])
        if set(found) != {own}:
            raise ValueError(
                f"cluster: a rollout worker has other frozen weights than the learner in {policy.folder}: that folder "
                "must be the same on all nodes"
            )
        logger.info("%d rollout workers are ready", len(found))

    def _all_ready(self, answers: list[Any]) -> list[str]:
        """The fingerprints."""
        seconds = self._timeouts["start_s"]
        try:
            return ray.get(answers, timeout=seconds)
        except GetTimeoutError:
            ready, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
            raise ValueError(
                f"cluster.timeouts.start_s: {len(ready)} of {len(answers)} rollout workers were ready after "
                f"{seconds:g} s; of the cluster is free: {ray.available_resources()}"
            ) from None
        except RayTaskError as error:
            raise ValueError(f"cluster: a rollout worker could not start: {error.cause}") from error
        except RayError as error:
            raise ValueError(f"cluster: a rollout worker was lost while it started: {last_line(error)}") from error

    def act_with(self, actor: Policy, iteration: int) -> None:
        """Publishes the actor's weights for this iteration, unless those of the last one were kept for it."""
        self._asked = {key: asked for key, asked in self._asked.items() if key[0] == iteration}
        self._sampler, policy = sampler_of(actor)
        if not (self.staleness and self._iteration == iteration):
            self._publish(trainable_arrays(policy), iteration)

    def _publish(self, weights: Weights, iteration: int) -> None:
        self._weights, self._iteration = ray.put(weights), iteration
        self._version += 1

    def expect(self, requests: Sequence[GroupRequest]) -> None:
        """The workers begin, each with the same number of requests."""
        for request in requests:
            if _key(request) not in self._asked:
                self._asked[_key(request)] = self._ask(request)

    def play(self, request: GroupRequest) -> Iterator[list[Episode]]:
        """The groups of the request, once all of them are there. Raises EnvironmentFailure."""
        self.expect([request])
        # Of our own worker; Ray itself pickles what it carries, so who may join its cluster may run code there anyway.
        answer = pickle.loads(self._answer(*self._asked.pop(_key(request))))
        if isinstance(answer, EnvironmentFailure):
            raise answer
        yield from answer

    def _ask(self, request: GroupRequest) -> Asked:
        busy = [asked.worker for asked in self._asked.values()]
        worker = min(range(len(self._workers)), key=busy.count)
        call = self._workers[worker].groups
        return Asked(call.remote([self._weights], self._version, self._sampler, request), worker)

    def _answer(self, answer: Any, worker: int) -> bytes:
        try:
            return ray.get(answer, timeout=self._timeouts["group_s"])
        except GetTimeoutError:
            ray.kill(self._workers[worker], no_restart=False)
            seconds = self._timeouts["group_s"]
            raise EnvironmentFailure(f"rollout worker {worker} did not answer within {seconds:g} s") from None
        except RayTaskError:
            raise  # a bug, with the worker's traceback
        except RayError as error:
            raise EnvironmentFailure(f"rollout worker {worker} was lost: {last_line(error)}") from error

    def recover(self) -> None:
        """Workers start their simulators anew themselves."""

    def save(self, folder: Path) -> None:
        """The weights that the next iteration is played with, where they are not the newest."""
        if self.staleness and self._distributed.is_main:
            write_stale_weights(folder / FILE, ray.get(self._weights), self._iteration)

    def load(self, folder: Path) -> None:
        """Goes on with them; a run with staleness 0 saved none. Raises ValueError naming a damaged file."""
        if self.staleness and (folder / FILE).exists():
            self._publish(*read_stale_weights(folder / FILE))

    def close(self) -> None:
        """Ends the workers and their simulators, and leaves the cluster, if it was joined here."""
        if self._workers and not self._asked:
            closing = [worker.close.remote() for worker in self._workers]
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
        for worker in self._workers:
            ray.kill(worker)
        self._workers, self._asked = [], {}
        if self._joined:
            ray.shutdown()
            self._joined = False


def _key(request: GroupRequest) -> Key:
    return request.iteration, request.context_ids, request.film
