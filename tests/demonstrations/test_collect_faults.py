"""What can go wrong around a collection: nothing is simulated here."""

import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ript.demonstrations import collect
from ript.demonstrations.demonstration_files import TaskFile, Try, write_part
from ript.demonstrations.recording import Recording
from ript.env_runner.workers import WorkerError
from ript.locks import FolderLock


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the command with what stands in for its simulators: exit code and what it says."""

    def run_command(simulate: Callable[..., None] = lambda *_: None, out: Path = tmp_path) -> tuple[Any, list[str]]:
        monkeypatch.setattr(collect, "run_schedule", simulate)
        monkeypatch.setattr(sys, "argv", ["collect", "--suite", "libero_goal", "--tasks", "0", "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            collect.main()
        return ended.value.code, capsys.readouterr().err.splitlines()

    return run_command


def raising(error: BaseException) -> Callable[..., None]:
    def simulate(*_: Any) -> None:
        raise error

    return simulate


def test_a_second_collection_in_a_folder_is_refused_in_one_line(run: Callable[..., Any], tmp_path: Path) -> None:
    with FolderLock(tmp_path / "libero_goal"):
        code, lines = run()
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith(f"error: {tmp_path}/libero_goal is in use by process ")


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(run: Callable[..., Any]) -> None:
    code, lines = run(raising(KeyboardInterrupt()))
    assert (code, len(lines)) == (130, 1) and "the same command goes on" in lines[0]


def test_a_folder_that_cannot_be_written_is_named_in_one_line(run: Callable[..., Any]) -> None:
    code, lines = run(out=Path("/proc/x"))
    assert (code, len(lines)) == (2, 1) and "/proc/x" in lines[0]


def test_a_full_disk_in_a_worker_is_one_line_and_how_to_go_on(run: Callable[..., Any]) -> None:
    error = WorkerError(0, "failed in demonstrate:\nTraceback (most recent call last):\n  ...")
    error.__cause__ = OSError("/data/try_000000.hdf5 could not be written: No space left on device")
    code, lines = run(raising(error))
    assert (code, len(lines)) == (1, 2)
    assert lines[0] == f"error: {error.__cause__}" and "goes on" in lines[1]


@pytest.mark.parametrize("backend", ["glx", "egl1"])
def test_a_renderer_that_cannot_work_is_refused_in_one_line(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.setenv("MUJOCO_GL", backend)
    code, lines = run()
    assert (code, len(lines)) == (2, 1) and f"MUJOCO_GL='{backend}'" in lines[0]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Like a full disk, for files of this process above `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_cuts_off_is_named_and_removed(
    tmp_path: Path, make_recording: Callable[..., Recording]
) -> None:
    recording = make_recording(length=200)
    part = tmp_path / "try_000000.hdf5"
    with largest_file(4096), pytest.raises(OSError, match=rf"{part} could not be written"):
        write_part(part, recording)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_a_full_disk_kept_from_growing_is_as_it_was_and_its_parts_stay(
    tmp_path: Path, make_recording: Callable[..., Recording]
) -> None:
    file = TaskFile(tmp_path / "task_demo.hdf5", {"problem_info": "{}"}, {"seed": 0})
    for number in (0, 1):
        file.prepare()
        write_part(file.part(number), make_recording(number, length=200))
        file.add(Try(number, 0, 0.0, True, 200, 1.0))
        if number == 0:
            file.merge()
            content = file.path.read_bytes()
    with largest_file(len(content) + 4096), pytest.raises(OSError, match=rf"{file.path} could not be written"):
        file.merge()
    assert file.path.read_bytes() == content and file.part(1).exists()
    assert not list(tmp_path.glob("*.tmp*"))
    file.merge()
    assert len(file.path.read_bytes()) > len(content)
