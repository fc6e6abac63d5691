"""Environments in worker processes, stepped in parallel."""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final, NoReturn

from ript.env_runner.worker_pool import GRACE_S, ONE_THREAD, TIMEOUT_S, Answer, WorkerError, WorkerPool, answer, failure

logger = logging.getLogger(__name__)

# A process started by fork hangs in its first OpenGL call if the parent has an EGL context.
_START_METHOD: Final = "spawn"


class EnvPool(WorkerPool):
    """A `WorkerPool` whose processes are children of this one.

    Workers end with the pool: on `close`, at the end of a `with` block, when it is garbage-collected, at exit,
    and when this process is killed. Ctrl-C and SIGTERM, which reach the whole process group, do not end them:
    this process decides.

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

    def __init__(self, make_env: Callable[[], Any], num_envs: int, timeout_s: float = TIMEOUT_S) -> None:
        super().__init__(num_envs, timeout_s)
        self._processes: list[SpawnProcess] = []
        self._connections: list[Connection] = []
        self._stop = weakref.finalize(self, _stop_workers, self._processes, self._connections)
        _pools.add(self)
        _log_start_method()
        with self._closed_on_failure():
            for index in range(num_envs):
                self._start_worker(index, make_env)
            self._wait_until_made(timeout_s)

    @property
    def is_closed(self) -> bool:
        """Whether the workers have ended, or are being ended."""
        return not self._stop.alive

    def close(self) -> None:
        """Close all environments and end their processes; a second call does nothing."""
        self._stop()

    def _start_worker(self, index: int, make_env: Callable[[], Any]) -> None:
        context = multiprocessing.get_context(_START_METHOD)
        ours, theirs = context.Pipe()
        self._connections.append(ours)
        process = context.Process(target=_serve, args=(theirs, make_env), name=f"environment-{index}", daemon=True)
        with _environment_variables(ONE_THREAD), theirs:
            process.start()
        self._processes.append(process)

    def _send(self, index: int, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._connections[index].send((method, args, kwargs))
        except (BrokenPipeError, ConnectionResetError):
            self._raise_died(index)

    def _answers(self, indices: Sequence[int], seconds: float) -> Iterator[tuple[int, Answer]]:
        deadline = time.monotonic() + seconds
        waiting = {self._connections[index]: index for index in indices}
        while waiting:
            ready = wait(list(waiting), timeout=max(0.0, deadline - time.monotonic()))
            if not ready:
                late = sorted(waiting.values())
                raise WorkerError(late[0], f"did not answer within {seconds:g} s (waiting for {late})")
            for connection in ready:
                assert isinstance(connection, Connection)
                index = waiting.pop(connection)
                try:
                    received = connection.recv()
                except (EOFError, ConnectionResetError):
                    self._raise_died(index)
                yield index, received

    def _raise_died(self, index: int) -> NoReturn:
        process = self._processes[index]
        process.join(GRACE_S)
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
            connection.send_bytes(failure(error))
            return
        with contextlib.closing(env):
            connection.send((None, None))
            while True:
                connection.send_bytes(answer(env, *connection.recv()))


def _end_after_parent() -> None:
    """A worker whose parent is gone closes its environment; one that hangs in a call cannot, and ends all the same."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    time.sleep(GRACE_S)
    os._exit(1)


def _stop_workers(processes: list[SpawnProcess], connections: list[Connection]) -> None:
    """Ask all workers to end by closing their pipes; terminate those that do not within the grace period."""
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + GRACE_S
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
