"""Runs functions on several gloo ranks: processes that live as long as the test session, since importing torch is slow.

Each job has a process group of its own and finds its process as a fresh one would be, but for what modules cache.
"""

import faulthandler
import logging
import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

TIMEOUT_S = 120


class Rank:
    """One process, which does one job after the other."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        descriptor, self._stack = tempfile.mkstemp(prefix="rank_")
        os.close(descriptor)
        self.process = context.Process(target=_serve, args=(theirs, self._stack), daemon=True)
        with theirs:
            self.process.start()

    def stack(self) -> str:
        """Where the process is now."""
        os.kill(self.process.pid or 0, signal.SIGUSR1)
        time.sleep(0.5)
        return Path(self._stack).read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        os.unlink(self._stack)


_ranks: list[Rank] = []


def run_ranks(job: Callable[..., Any], world_size: int, *args: Any, timeout_s: float = TIMEOUT_S) -> list[Any]:
    """`job(distributed, *args)` on every rank; the results in rank order.

    A job that raises, dies or hangs fails the test, with the traceback; the next call has new processes.
    """
    _ranks.extend(Rank() for _ in range(world_size - len(_ranks)))
    try:
        return _run(_ranks[:world_size], job, args, timeout_s)
    except BaseException:
        close_ranks()
        raise


def close_ranks() -> None:
    """Ends the processes."""
    while _ranks:
        _ranks.pop().kill()


def _run(ranks: list[Rank], job: Callable[..., Any], args: tuple[Any, ...], timeout_s: float) -> list[Any]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    for number, rank in enumerate(ranks):
        own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(len(ranks))}
        environ = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **own}
        rank.connection.send((sys.path, os.getcwd(), environ))
        rank.connection.send((job, args))
    results: dict[int, Any] = {}
    deadline = time.monotonic() + timeout_s
    while len(results) < len(ranks):
        waiting = {rank.connection: number for number, rank in enumerate(ranks) if number not in results}
        ready = wait(list(waiting), max(0.0, deadline - time.monotonic()))
        if not ready:
            stacks = "\n".join(f"rank {number}:\n{ranks[number].stack()}" for number in waiting.values())
            raise AssertionError(f"ranks did not finish within {timeout_s:g} s\n{stacks}")
        for connection in ready:
            number = waiting[connection]  # type: ignore[index]
            results[number] = _result(number, ranks[number])
    return [results[number] for number in range(len(ranks))]


def _result(number: int, rank: Rank) -> Any:
    try:
        failure, result = rank.connection.recv()
    except (EOFError, ConnectionResetError):
        rank.process.join()
        raise AssertionError(f"rank {number} died with exit code {rank.process.exitcode}") from None
    assert failure is None, f"rank {number} failed:\n{failure}"
    return result


def _serve(connection: Connection, stack: str) -> None:
    """A rank's life: jobs until the test session closes the pipe or is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    faulthandler.register(signal.SIGUSR1, os.open(stack, os.O_WRONLY), all_threads=False)
    while True:
        try:
            path, folder, environ = connection.recv()
        except EOFError:
            return
        try:
            sys.path[:] = path
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environ)
            connection.send((None, _do(*connection.recv())))
        except Exception:
            connection.send((traceback.format_exc(), None))


def _do(job: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    import numpy as np
    import torch

    from ript.distributed import Distributed

    logging.getLogger().setLevel(logging.WARNING)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    distributed = Distributed.start(torch.device("cpu"))
    result = job(distributed, *args)
    distributed.barrier()
    distributed.stop()
    return result


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
