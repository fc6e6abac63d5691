"""Jobs of different length on worker processes, without waiting for the slowest."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from ript.env_runner.workers import EnvPool


class WorkerJobs:
    """One method of an object in each worker process, called whenever a worker is idle.

    Args:
        make_object: makes the object in each worker; see `EnvPool`.
        method: the method to call.
        workers: number of processes.
        timeout_s: seconds after which a call counts as hung.
    """

    def __init__(self, make_object: Callable[[], Any], method: str, workers: int, timeout_s: float = 3600.0) -> None:
        self._method = method
        self._pools = [EnvPool(make_object, 1, timeout_s) for _ in range(workers)]
        self._idle = list(self._pools)
        self._answers: queue.SimpleQueue[tuple[EnvPool, Any, Any]] = queue.SimpleQueue()

    @property
    def idle(self) -> int:
        """Workers without a job."""
        return len(self._idle)

    @property
    def running(self) -> int:
        """Jobs being worked on."""
        return len(self._pools) - len(self._idle)

    def start(self, arguments: tuple[Any, ...], tag: Any) -> None:
        """Calls the method in an idle worker."""
        pool = self._idle.pop()
        # Daemons: an interrupted main thread does not wait for them.
        threading.Thread(target=self._call, args=(pool, arguments, tag), daemon=True).start()

    def wait(self) -> tuple[Any, Any]:
        """Tag and result of the next job that ends. Raises what the job raised (`WorkerError`)."""
        pool, tag, result = self._answers.get()
        self._idle.append(pool)
        if isinstance(result, BaseException):
            raise result
        return tag, result

    def close(self) -> None:
        """Ends all workers."""
        for pool in self._pools:
            pool.close()

    def __enter__(self) -> WorkerJobs:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _call(self, pool: EnvPool, arguments: tuple[Any, ...], tag: Any) -> None:
        try:
            result = pool.call(self._method, [arguments])[0]
        except BaseException as error:
            result = error
        self._answers.put((pool, tag, result))
