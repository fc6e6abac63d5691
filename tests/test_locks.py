import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ript.locks import FolderLock

HOLD = """
import sys, time
from pathlib import Path
from ript.locks import FolderLock
with FolderLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(ValueError, match=f"{folder} is in use by process {process.pid} on") as caught:
            FolderLock(folder)
        assert socket.gethostname() in str(caught.value) and "\n" not in str(caught.value)
        process.kill()
    FolderLock(folder).close()  # a killed process holds nothing


def test_closing_frees_the_folder_and_may_be_repeated(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(ValueError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path)
    lock.close()
    lock.close()
    with FolderLock(tmp_path), pytest.raises(ValueError, match="in use"):
        FolderLock(tmp_path)
    FolderLock(tmp_path).close()


def test_a_process_started_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    with FolderLock(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        FolderLock(tmp_path).close()
    finally:
        child.kill()
        child.wait()


def test_a_renamed_folder_stays_locked(tmp_path: Path) -> None:
    with FolderLock(tmp_path / "run"):
        (tmp_path / "run").rename(tmp_path / "kept")
        with pytest.raises(ValueError, match="in use"):
            FolderLock(tmp_path / "kept")
        FolderLock(tmp_path / "run").close()


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(OSError, match="/proc/x"):
        FolderLock(Path("/proc/x/y"))


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("ript.locks.fcntl.flock", no_locks)
    with pytest.raises(OSError, match=rf"No locks available: '{tmp_path}/\.lock'"):
        FolderLock(tmp_path)
