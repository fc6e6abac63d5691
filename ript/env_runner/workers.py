"""Environments in worker processes, stepped in parallel."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, NoReturn

from ript.env_runner.failure import EnvironmentFailure

logger = logging.getLogger(__name__)

Request = Any
"""One environment's arguments: positional as a tuple, or by name as a mapping or a dataclass such as `vec_env.Start`.

None lets it sit out.
"""

# A process started by fork hangs in its first OpenGL call if the parent has an EGL context.
_START_METHOD: Final = "spawn"

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A worker's linear algebra is 7 × 7; thread pools in every worker only compete for cores."""

_GRACE_S = 5.0
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


class EnvPool:
    """N environments, each in a process of its own, that work at the same time.

    After an environment raised, the pool can still be used. After a worker died or hung, or an interrupt in
    this process, it is closed. Workers end with the pool: on `close`, at the end of a `with` block, when it
    is garbage-collected, at exit, and when this process is killed. Ctrl-C and SIGTERM, which reach the whole
    process group, do not end them: this process decides.

    Workers are spawned, so a script that makes a pool needs an `if __name__ == "__main__":` guard, and what
    the script imports at its top is imported in every worker.

    Args:
        make_env: makes one environment, which must have `close()`; called once in each worker, so it must be
            picklable (for example `functools.partial(LiberoEnv, "libero_spatial", 0)`).
        num_envs: number of environments.
        timeout_s: seconds to wait for the environments to be made, and for the answers to each call.

    Raises:
        ValueError: `num_envs` below 1, or `timeout_s` not positive.
        WorkerError: an environment could not be made.
    """

    num_envs: int
    """Number of environments."""

    def __init__(self, make_env: Callable[[], Any], num_envs: int, timeout_s: float = 300.0) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if timeout_s <= 0:
            raise ValueError(f"timeout_s must be positive, got {timeout_s}")
        self.num_envs = num_envs
        self._timeout_s = timeout_s
        self._processes: list[SpawnProcess] = []
        self._connections: list[Connection] = []
        self._stop = weakref.finalize(self, _stop_workers, self._processes, self._connections)
        _pools.add(self)
        _log_start_method()
        with self._closed_on_failure():
            for index in range(num_envs):
                self._start_worker(index, make_env)
            for index, (error, cause) in self._answers(range(num_envs)):
                if error is not None:
                    raise WorkerError(index, f"could not make its environment:\n{error}") from cause

    @property
    def is_closed(self) -> bool:
        """Whether the workers have ended, or are being ended."""
        return not self._stop.alive

    def load_task(self, task_id: int) -> None:
        """`env.load_task(task_id)` in all environments."""
        self.call("load_task", [(task_id,)] * self.num_envs)

    def reset(self, starts: Sequence[Request]) -> list[Any]:
        """`call("reset", starts)`."""
        return self.call("reset", starts)

    def step_chunk(self, chunks: Sequence[Request]) -> list[Any]:
        """`call("step_chunk", chunks)`."""
        return self.call("step_chunk", chunks)

    def call(self, method: str, requests: Sequence[Request]) -> list[Any]:
        """Call a method of all environments at once.

        Args:
            method: the method's name.
            requests: `num_envs` requests, the i-th for environment i.

        Returns:
            What each environment returned; None for those that sat out.

        Raises:
            ValueError: another number of requests than environments.
            WorkerError: an environment raised (with its traceback), died or did not answer in time.
            RuntimeError: the pool is closed.
        """
        if self.is_closed:
            raise RuntimeError("the pool of environments is closed")
        if len(requests) != self.num_envs:
            raise ValueError(f"{len(requests)} requests for {self.num_envs} environments")
        asked = [index for index, request in enumerate(requests) if request is not None]
        results: list[Any] = [None] * self.num_envs
        failures: list[WorkerError] = []
        with self._closed_on_failure():
            for index in asked:
                self._send(index, (method, *_split(requests[index])))
            for index, (error, result) in self._answers(asked):
                results[index] = result
                if error is not None:
                    failures.append(WorkerError(index, f"failed in {method}:\n{error}"))
                    failures[-1].__cause__ = result
        if failures:
            raise min(failures, key=lambda failure: failure.index)
        return results

    def close(self) -> None:
        """Close all environments and end their processes; a second call does nothing."""
        self._stop()

    def __enter__(self) -> EnvPool:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        """Whatever interrupts an exchange, an answer may be left in a pipe: the pool cannot go on."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _start_worker(self, index: int, make_env: Callable[[], Any]) -> None:
        context = multiprocessing.get_context(_START_METHOD)
        ours, theirs = context.Pipe()
        self._connections.append(ours)
        process = context.Process(target=_serve, args=(theirs, make_env), name=f"environment-{index}", daemon=True)
        with _environment_variables(_ONE_THREAD), theirs:
            process.start()
        self._processes.append(process)

    def _send(self, index: int, message: tuple[Any, ...]) -> None:
        try:
            self._connections[index].send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._raise_died(index)

    def _answers(self, indices: Sequence[int]) -> Iterator[tuple[int, tuple[str | None, Any]]]:
        """(worker, (traceback or None, result or cause)) of every worker in `indices`, in order of arrival."""
        deadline = time.monotonic() + self._timeout_s
        waiting = {self._connections[index]: index for index in indices}
        while waiting:
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                late = sorted(waiting.values())
                raise WorkerError(late[0], f"did not answer within {self._timeout_s:g} s (waiting for {late})")
            for connection in ready:
                assert isinstance(connection, Connection)
                index = waiting.pop(connection)
                try:
                    answer = connection.recv()
                except (EOFError, ConnectionResetError):
                    self._raise_died(index)
                yield index, answer

    def _raise_died(self, index: int) -> NoReturn:
        process = self._processes[index]
        process.join(_GRACE_S)
        message = f"died with exit code {process.exitcode}"
        if process.exitcode == -signal.SIGKILL:
            message += ": killed, most likely because the machine ran out of memory; use fewer environments"
        raise WorkerError(index, message)


def _serve(connection: Connection, make_env: Callable[[], Any]) -> None:
    """A worker's life: make the environment, answer calls until the parent closes the pipe, close it."""
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole process group; the parent decides
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_after_parent, daemon=True).start()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            env = make_env()
        except Exception as error:
            connection.send_bytes(_failure(error))
            return
        with contextlib.closing(env):
            connection.send((None, None))
            while True:
                connection.send_bytes(_answer(env, *connection.recv()))


def _end_after_parent() -> None:
    """A worker whose parent is gone closes its environment; one that hangs in a call cannot, and ends all the same."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(_GRACE_S)
    os._exit(1)


def _answer(env: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> memoryview:
    """The pickled pair (None, result), or a failure if the call or the pickling fails."""
    try:
        return ForkingPickler.dumps((None, getattr(env, method)(*args, **kwargs)))
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> memoryview:
    """The pickled pair (traceback, cause). Other errors than the system's may be of classes unknown to the parent."""
    cause = OSError(str(error)) if isinstance(error, OSError) else None
    return ForkingPickler.dumps((traceback.format_exc(), cause))


def _stop_workers(processes: list[SpawnProcess], connections: list[Connection]) -> None:
    """Ask all workers to end by closing their pipes; terminate those that do not within the grace period."""
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + _GRACE_S
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.is_alive():
            process.kill()
            process.join()
        process.close()


_pools: weakref.WeakSet[EnvPool] = weakref.WeakSet()


@atexit.register  # after the import of multiprocessing, so before it sends SIGTERM to children and waits for them
def _close_pools() -> None:
    for pool in list(_pools):
        pool.close()


def _split(request: Request) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if dataclasses.is_dataclass(request):
        return (), dict(vars(request))
    if isinstance(request, Mapping):
        return (), dict(request)
    return tuple(request or ()), {}


@contextlib.contextmanager
def _environment_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for child processes to inherit, then restore them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@functools.cache
def _log_start_method() -> None:
    logger.info("environment workers are started by %s", _START_METHOD)
