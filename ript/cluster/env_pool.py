"""A pool of environments on the machines of a Ray cluster."""

import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from ript.cluster.env_worker import EnvWorker
from ript.cluster.placement import actor_options, last_line
from ript.env_runner.worker_pool import GRACE_S, ONE_THREAD, TIMEOUT_S, Answer, WorkerError, WorkerPool


class RayEnvPool(WorkerPool):
    """A `WorkerPool` whose processes are actors of the Ray cluster that this process is in.

    Workers end with the pool: on `close`, at the end of a `with` block, when it is garbage-collected, and with this
    process. One that dies is not started anew: whoever plays makes another pool, as of an `EnvPool`.

    Args:
        make_env: makes one environment; see `EnvPool`. It and what it needs must be there on all nodes.
        num_envs: number of environments.
        resources: what each takes of a node: `{"CPU": 1}`.
        start_s: seconds to wait for room in the cluster and for the environments to be made.
        timeout_s: seconds to wait for the answers to each call.

    Raises:
        ValueError: `num_envs` below 1, or `timeout_s` not positive.
        WorkerError: an environment could not be made.
    """

    def __init__(
        self,
        make_env: Callable[[], Any],
        num_envs: int,
        resources: Mapping[str, float],
        start_s: float,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        super().__init__(num_envs, timeout_s)
        variables = {name: os.environ[name] for name in ("MUJOCO_GL",) if name in os.environ}
        options = {**actor_options(resources), "runtime_env": {"env_vars": {**ONE_THREAD, **variables}}}
        actor = ray.remote(EnvWorker).options(**options)
        self._workers: list[Any] = [actor.remote(make_env) for _ in range(num_envs)]
        self._asked: dict[int, Any] = {}
        """Worker → Ray's reference to its answer."""
        self._is_closed = False
        with self._closed_on_failure():
            self._asked = {index: worker.make.remote() for index, worker in enumerate(self._workers)}
            self._wait_until_made(start_s)

    @property
    def is_closed(self) -> bool:
        """Whether the workers have ended, or are being ended."""
        return self._is_closed

    def close(self) -> None:
        """Close all environments and end their processes; a second call does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        closing = [worker.close.remote() for worker in self._workers]
        ray.wait(closing, num_returns=len(closing), timeout=GRACE_S)
        for worker in self._workers:
            ray.kill(worker)

    def _send(self, index: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._asked[index] = self._workers[index].call.remote(method, args, kwargs)

    def _answers(self, indices: Sequence[int], seconds: float) -> Iterator[tuple[int, Answer]]:
        deadline = time.monotonic() + seconds
        waiting = {self._asked.pop(index): index for index in indices}
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                late, free = sorted(waiting.values()), ray.available_resources()
                text = f"did not answer within {seconds:g} s (waiting for {late}; of the cluster is free: {free})"
                raise WorkerError(late[0], text)
            index = waiting.pop(ready[0])
            yield index, self._answer(index, ready[0])

    def _answer(self, index: int, reference: Any) -> Answer:
        try:
            # Of our own worker; Ray itself pickles what it carries.
            return pickle.loads(ray.get(reference))
        except RayTaskError:
            raise  # a bug, with the worker's traceback
        except RayError as error:
            raise WorkerError(index, f"was lost: {last_line(error)}") from error
