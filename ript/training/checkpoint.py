"""Checkpoints of a run: written whole or not at all, and the newest complete one found again.

checkpoints/step_000010/
    policy/        a policy folder (see `ript.models.pi0.checkpoint`); with `algo.ema_decay` the average of the weights
    training.pt    the states of the parts, and the run's configuration; tensors and plain values only
    replay_N.safetensors    windows that rank N will learn from again, for algorithms that replay
    COMPLETE       written last
"""

import io
import logging
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from ript.distributed import Distributed

logger = logging.getLogger(__name__)

_MALFORMED = (LookupError, TypeError, AttributeError)
_UNREADABLE = (RuntimeError, AssertionError, pickle.UnpicklingError, struct.error, EOFError, ValueError, *_MALFORMED)
"""What torch's unpickler raises for damaged bytes."""
MARKER, STATE, POLICY = "COMPLETE", "training.pt", "policy"
VERSION = 2
"""Of the state; 1 had no version, and the average's tensors in it were the trained weights'."""


def save_checkpoint(
    root: Path,
    step: int,
    keep: int,
    distributed: Distributed,
    *,
    save_policy: Callable[[Path], None],
    state: dict[str, Any],
    save_arrays: Callable[[Path], None],
) -> Path:
    """Writes `root/step_NNNNNN`, then removes all but the newest `keep` checkpoints and any leftovers. A collective.

    Rank 0 calls `save_policy(folder)` and writes `state`; every rank calls `save_arrays(folder)`. Raises OSError naming
    the checkpoint when the disk does not take it; those that were there stay, and what was written of it is removed.
    """
    target = root / f"step_{step:06d}"
    temporary = root / f".{target.name}.tmp"
    with _removed_on_failure(temporary, target):
        if distributed.is_main:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        distributed.barrier()
        save_arrays(temporary)
        distributed.barrier()
        if distributed.is_main:
            save_policy(temporary / POLICY)
            _save_state({**state, "version": VERSION}, temporary / STATE)
            _publish(temporary, target)
            _prune(root, keep, target)
        distributed.barrier()
    return target


@contextmanager
def _removed_on_failure(temporary: Path, target: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        # The libraries written in Rust have exceptions of their own for what the system says.
        if isinstance(error, OSError) or "(os error " in str(error):
            raise OSError(f"{target} could not be written: {error}") from error
        raise


def _save_state(state: dict[str, Any], path: Path) -> None:
    """`torch.save`, whose own error does not say what the system said."""
    with path.open("wb") as file:
        writer = _Writer(file)
        try:
            torch.save(state, cast(BinaryIO, writer))
        except RuntimeError as error:
            raise (writer.error or error) from error


class _Writer(io.RawIOBase):
    """Passes on what is written, and remembers the first error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """As any file's."""
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        """As any file's."""
        self._file.flush()


def complete_checkpoints(root: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first."""
    return sorted(path for path in root.glob("step_*") if (path / MARKER).is_file())


def find_checkpoint(run_dir: Path, resume: bool | str, resume_path: str | None) -> Path | None:
    """The checkpoint to go on from, None for a new run: `resume_path`, or the newest complete one of the run.

    `resume="auto"` goes on if there is something to go on from. Raises FileNotFoundError naming the folder.
    """
    if not resume:
        return None
    if resume_path is not None:
        path = Path(resume_path).expanduser()
        if not (path / MARKER).is_file():
            raise FileNotFoundError(f"training.resume_path is not a complete checkpoint: {path}")
        return path
    found = complete_checkpoints(run_dir / "checkpoints")
    if not found and resume != "auto":
        raise FileNotFoundError(f"training.resume: no complete checkpoint in {run_dir / 'checkpoints'}")
    return found[-1] if found else None


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The training state of a checkpoint, on the CPU. No code in the file is executed.

    Raises FileNotFoundError, or ValueError for a damaged file; both name it.
    """
    path = checkpoint / STATE
    if not path.is_file():
        raise FileNotFoundError(f"training state not found: {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(f"{path}: damaged training state ({_first_line(error)})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path}: damaged training state (it is no mapping)")
    if "version" not in state:
        try:
            return _upgraded(state)
        except _MALFORMED as error:
            raise ValueError(f"{path}: damaged training state ({error!r})") from error
    if state["version"] != VERSION:
        raise ValueError(f"{path}: version {state['version']} of the training state is not known; this is {VERSION}")
    return state


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """The state of version 1 in today's form. What its average was, only the policy's folder says: see `Learner`."""
    average = state["average"]
    if average is not None:
        average = {"steps": average["steps"], "average": None, "raw": average["raw"]}
    schedulers = state["schedulers"]
    return {
        "version": VERSION,
        "step": state["step"],
        "learner": {
            "iteration": state["step"],
            "factor": _factor(state["optimizers"]["model"], schedulers["model"]),
            "optimizers": state["optimizers"],
            "average": average,
            "random_states": [{"cpu": tensor} for tensor in state["random_states"]],
        },
        "rl_optimizer": state["rl_optimizer"],
        "loader": {**state["loader"], "world_size": state["world_size"]},
        "config": None,
    }


def _factor(optimizer: dict[str, Any], scheduler: dict[str, Any]) -> float:
    """The share of the full rate that the schedule had reached."""
    group = optimizer["param_groups"][0]
    return scheduler["_last_lr"][0] / group["initial_lr"] if group.get("initial_lr") else 1.0


def _publish(temporary: Path, target: Path) -> None:
    """Makes the finished folder appear under its name, whole."""
    for path in temporary.rglob("*"):
        _fsync(path)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    (target / MARKER).touch()
    _fsync(target)
    _fsync(target.parent)


def _prune(root: Path, keep: int, newest: Path) -> None:
    """Removes old checkpoints, never the one just written, and what a kill left behind."""
    others = [path for path in complete_checkpoints(root) if path != newest]
    unfinished = [path for path in root.glob("step_*") if not (path / MARKER).is_file()]
    for path in [*others[: len(others) - keep + 1], *root.glob(".step_*.tmp"), *unfinished]:
        shutil.rmtree(path)


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
