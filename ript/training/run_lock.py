"""One process at a time writes into a run's folder."""

import fcntl
import os
import socket
from pathlib import Path


class RunLock:
    """An exclusive lock on a run's name, held until `release` or the end of the process, however it ends.

    It lies beside the run's folder, `.<name>.lock`, because a new run renames the folder of an earlier one.

    Raises:
        ValueError: another process holds it; the message names that process.
    """

    def __init__(self, run_dir: Path):
        path = run_dir.with_name(f".{run_dir.name}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise ValueError(
                f"{run_dir} is in use by process {holder}; wait for it, or choose another paths.run_name"
            ) from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Lets others have the name."""
        self._file.close()
