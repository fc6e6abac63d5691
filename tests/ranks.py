"""Runs a function on several gloo ranks, each a spawned process, and collects what they return."""

import multiprocessing
import os
import queue
import socket
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 120


def run_ranks(job: Callable[..., Any], world_size: int, *args: Any) -> list[Any]:
    """`job(distributed, *args)` on every rank; the results in rank order. A hang or a crash fails the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=_run, args=(job, rank, world_size, port, results, args), daemon=True)
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(results.get(timeout=TIMEOUT_S) for _ in processes)
    except queue.Empty:
        raise AssertionError(f"ranks did not finish: exit codes {[p.exitcode for p in processes]}") from None
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return [found[rank] for rank in range(world_size)]


def _run(job: Callable[..., Any], rank: int, world_size: int, port: int, results: Any, args: tuple[Any, ...]) -> None:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(address, RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(rank))
    import torch

    from ript.distributed import Distributed

    torch.set_num_threads(1)
    distributed = Distributed.start(torch.device("cpu"))
    results.put((rank, job(distributed, *args)))
    distributed.barrier()
    distributed.stop()
