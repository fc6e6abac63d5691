"""One writer per folder."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path

LOCK = ".lock"


class FolderLock(AbstractContextManager["FolderLock"]):
    """Keeps other processes that ask for it out of a folder, until `close` or the end of this process, however it ends.

    The folder is made if it is not there. The file `.lock` in it stays; it names the process that has, or last had, the
    lock. Renaming the folder keeps the lock.

    Raises:
        ValueError: another process holds it; the message names that process.
        OSError: the folder cannot be written to; the message names the file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOCK
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(path)
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets others in; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _take(self, path: Path) -> None:
        assert self._descriptor is not None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = path.read_text().strip() or "another process"
            raise ValueError(f"{path.parent} is in use by {holder}: wait until it ends, or choose another") from error
        except OSError as error:
            error.filename = str(path)  # the system call knows only a number
            raise
