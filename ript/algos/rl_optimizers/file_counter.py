"""A counter that all ranks share: in a file for one process or host, in torch.distributed's store otherwise.

RIPT's early stop counts with it, and code written for RIPT imports it from here; the generator of this project counts
in rounds and does not use it.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch.distributed import Store

from ript.distributed import Distributed


class GlobalCounter(Protocol):
    """What both counters do."""

    def reset(self, value: int = 0) -> None:
        """Sets the count."""

    def update(self, increment: int = 1) -> int:
        """Adds and returns the new count, atomically over processes."""

    def get(self) -> int:
        """The count."""


class FileGlobalCounter:
    """An integer in a file, changed under an exclusive lock: no update of any process is lost."""

    def __init__(self, filename: str | Path):
        self.path = Path(filename)
        self.path.touch()

    def reset(self, value: int = 0) -> None:
        """Sets the count."""
        self._change(lambda _: value)

    def update(self, increment: int = 1) -> int:
        """Adds `increment` and returns the new count."""
        return self._change(lambda count: count + increment)

    def get(self) -> int:
        """The count."""
        return self._change(lambda count: count)

    def _change(self, change: Callable[[int], int]) -> int:
        with self.path.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            value = change(int(file.read() or 0))
            file.seek(0)
            file.truncate()
            file.write(str(value))
            file.flush()
            return value


class StoreGlobalCounter:
    """The same over torch.distributed's store: works across hosts."""

    def __init__(self, store: Store, key: str = "accepted_groups"):
        self.store = store
        self.key = key

    def reset(self, value: int = 0) -> None:
        """Sets the count. One rank calls it, and a barrier follows."""
        self.store.add(self.key, value - self.get())

    def update(self, increment: int = 1) -> int:
        """Adds `increment` and returns the new count."""
        return self.store.add(self.key, increment)

    def get(self) -> int:
        """The count."""
        return self.store.add(self.key, 0)


def setup_file_counter(tmp_dir: str | Path | None = None) -> FileGlobalCounter:
    """A new counter at 0 in a file of its own below `tmp_dir`."""
    handle, filename = tempfile.mkstemp(prefix="ript_counter_", dir=tmp_dir)
    os.close(handle)
    return FileGlobalCounter(filename)


def make_counter(distributed: Distributed) -> GlobalCounter:
    """A counter shared by all ranks of the run."""
    if distributed.world_size > 1 and distributed.store is not None:
        return StoreGlobalCounter(distributed.store)
    return setup_file_counter()


def reset_global_counter(counter: GlobalCounter, distributed: Distributed) -> None:
    """Sets the count to 0 on behalf of all ranks; none goes on before it is done."""
    distributed.barrier()
    if distributed.is_main:
        counter.reset()
    distributed.barrier()


def cleanup_counter(counter: GlobalCounter) -> None:
    """Removes the counter's file, if it has one."""
    if isinstance(counter, FileGlobalCounter):
        counter.path.unlink(missing_ok=True)
