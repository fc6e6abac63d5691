"""How much memory a run takes."""

import contextlib
import threading

import psutil
import torch

from ript.distributed import Distributed

GIB = 2**30
INTERVAL_S = 1.0
"""Seconds between samples; one takes some milliseconds."""


class MemoryWatch:
    """Samples the resident memory of this process and of all that it started, in a thread of its own.

    Pages that processes share count once for each.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = self._peak = self._resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def take(self) -> float:
        """The largest sample since the last call, in GiB."""
        peak, self._peak = self._peak, self._last
        return peak / GIB

    def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._last = self._resident()
            self._peak = max(self._peak, self._last)

    def _resident(self) -> int:
        """Bytes now."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
                total += process.memory_info().rss
        return total


def memory_metrics(watch: MemoryWatch, distributed: Distributed) -> dict[str, float]:
    """`memory/cpu_gib`, the sum over ranks; with CUDA `memory/gpu_gib`, the most that any rank has allocated so far."""
    cuda = distributed.device.type == "cuda"
    allocated = torch.cuda.max_memory_allocated(distributed.device) / GIB if cuda else 0.0
    ranks = distributed.gather((watch.take(), allocated))
    metrics = {"memory/cpu_gib": sum(cpu for cpu, _ in ranks)}
    if cuda:
        metrics["memory/gpu_gib"] = max(gpu for _, gpu in ranks)
    return metrics
