"""Environments in worker processes that are asked all at once; how messages reach them is the subclass's matter."""

from __future__ import annotations

import contextlib
import dataclasses
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.reduction import ForkingPickler
from typing import Any, Self

from ript.env_runner.failure import EnvironmentFailure

Request = Any
"""One environment's arguments: positional as a tuple, or by name as a mapping or a dataclass such as `vec_env.Start`.

None lets it sit out.
"""

Answer = tuple[str | None, Any]
"""(None, result), or (traceback, cause) of a call that raised."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A worker's linear algebra is 7 × 7; thread pools in every worker only compete for cores."""

TIMEOUT_S = 300.0
"""How long environments may take to be made, and to answer a call."""

GRACE_S = 5.0
"""How long a worker may take to close its environment before it is terminated."""


class WorkerError(EnvironmentFailure):
    """A worker process failed: its environment raised, it died, or it did not answer in time.

    If its environment raised an OSError (a full disk), that is the `__cause__`.
    """

    index: int
    """Which worker."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(index, message)
        self.index = index

    def __str__(self) -> str:
        return "environment worker {} {}".format(*self.args)


class WorkerPool(ABC):
    """N environments, each in a process of its own, that work at the same time: a `VecEnv`.

    After an environment raised, the pool can still be used. After a worker died or hung, or an interrupt in
    this process, it is closed.

    Args:
        num_envs: number of environments.
        timeout_s: seconds to wait for the answers to each call.

    Raises:
        ValueError: `num_envs` below 1, or `timeout_s` not positive.
    """

    num_envs: int
    """Number of environments."""

    def __init__(self, num_envs: int, timeout_s: float) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self.num_envs = num_envs
        self._timeout_s = timeout_s
        self._unanswered: set[int] = set()
        """Workers that were asked, and whose answers nobody has waited for."""

    @property
    @abstractmethod
    def is_closed(self) -> bool:
        """Whether the workers have ended, or are being ended."""

    @abstractmethod
    def close(self) -> None:
        """Close all environments and end their processes; a second call does nothing."""

    @abstractmethod
    def _send(self, index: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Asks a worker. Raises WorkerError if it died."""

    @abstractmethod
    def _answers(self, indices: Sequence[int], seconds: float) -> Iterator[tuple[int, Answer]]:
        """The answer of every worker in `indices`, in order of arrival. Raises WorkerError if one died or is late."""

    def load_task(self, task_id: int) -> None:
        """`env.load_task(task_id)` in all environments."""
        self.call("load_task", [(task_id,)] * self.num_envs)

    def reset(self, starts: Sequence[Request]) -> list[Any]:
        """`call("reset", starts)`."""
        return self.call("reset", starts)

    def step_chunk(self, chunks: Sequence[Request]) -> list[Any]:
        """`call("step_chunk", chunks)`."""
        return self.call("step_chunk", chunks)

    def begin_chunk(self, chunks: Sequence[Request]) -> Callable[[], list[Any]]:
        """`ask("step_chunk", chunks)`."""
        return self.ask("step_chunk", chunks)

    def call(self, method: str, requests: Sequence[Request]) -> list[Any]:
        """Call a method of all environments at once: `ask`, and wait for the answers.

        Args:
            method: the method's name.
            requests: `num_envs` requests, the i-th for environment i.

        Returns:
            What each environment returned; None for those that sat out.

        Raises:
            ValueError: another number of requests than environments.
            WorkerError: an environment raised (with its traceback), died or did not answer in time.
            RuntimeError: the pool is closed, or one of the environments is still to be waited for.
        """
        return self.ask(method, requests)()

    def ask(self, method: str, requests: Sequence[Request]) -> Callable[[], list[Any]]:
        """The first half of `call`; what it returns is the second, to be called once.

        In between, environments that sat out can be asked for something else. Whoever never calls the second half,
        after an interrupt for example, must close the pool. Arguments and errors are those of `call`.
        """
        self._check_open()
        if len(requests) != self.num_envs:
            raise ValueError(f"{len(requests)} requests for {self.num_envs} environments")
        asked = [index for index, request in enumerate(requests) if request is not None]
        if busy := sorted(self._unanswered.intersection(asked)):
            raise RuntimeError(f"{method}: environments {busy} were asked before, and are still to be waited for")
        with self._closed_on_failure():
            for index in asked:
                self._send(index, method, *_split(requests[index]))
        self._unanswered.update(asked)
        return partial(self._receive, method, asked)

    def _receive(self, method: str, asked: Sequence[int]) -> list[Any]:
        self._check_open()
        results: list[Any] = [None] * self.num_envs
        failures: list[WorkerError] = []
        with self._closed_on_failure():
            for index, (error, result) in self._answers(asked, self._timeout_s):
                results[index] = result
                if error is not None:
                    failures.append(WorkerError(index, f"failed in {method}:\n{error}"))
                    failures[-1].__cause__ = result
        self._unanswered.difference_update(asked)
        if failures:
            raise min(failures, key=lambda failure: failure.index)
        return results

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _wait_until_made(self, seconds: float) -> None:
        """Raises WorkerError: an environment could not be made."""
        for index, (error, cause) in self._answers(range(self.num_envs), seconds):
            if error is not None:
                raise WorkerError(index, f"could not make its environment:\n{error}") from cause

    def _check_open(self) -> None:
        if self.is_closed:
            raise RuntimeError("the pool of environments is closed")

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Whatever interrupts an exchange, an answer may be left on its way: the pool cannot go on."""
        try:
            yield
        except BaseException:
            self.close()
            raise


def answer(env: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> memoryview:
    """In a worker: the pickled `Answer`, also if the call or the pickling fails."""
    try:
        return ForkingPickler.dumps((None, getattr(env, method)(*args, **kwargs)))
    except Exception as error:
        return failure(error)


def failure(error: Exception) -> memoryview:
    """The pickled `Answer`. Other errors than the system's may be of classes unknown to the parent."""
    cause = OSError(str(error)) if isinstance(error, OSError) else None
    return ForkingPickler.dumps((traceback.format_exc(), cause))


def _split(request: Request) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if dataclasses.is_dataclass(request):
        return (), dict(vars(request))
    if isinstance(request, Mapping):
        return (), dict(request)
    return tuple(request or ()), {}
