"""Checkpoints of a run: written whole or not at all, and the newest complete one found again.

checkpoints/step_000010/
    policy/        a policy folder (see `ript.models.pi0.checkpoint`)
    training.pt    optimizers, schedulers, step, position in the data, random state; tensors and plain values only
    replay_N.safetensors    windows that rank N will learn from again, where `algo.replay_iterations` is above 1
    COMPLETE       written last
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy

logger = logging.getLogger(__name__)

MARKER, STATE, POLICY = "COMPLETE", "training.pt", "policy"


def save_checkpoint(
    root: Path, step: int, policy: PI0_OFT_Policy, state: dict[str, Any], keep: int, replays: Sequence[Path] = ()
) -> Path:
    """Writes `root/step_NNNNNN`, then removes all but the newest `keep` checkpoints and any leftovers.

    The files `replays`, in the order of ranks, are moved into it.
    """
    target = root / f"step_{step:06d}"
    temporary = root / f".{target.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    policy.save(temporary / POLICY)
    torch.save(state, temporary / STATE)
    for rank, path in enumerate(replays):
        path.rename(temporary / replay_name(rank))
    for path in temporary.rglob("*"):
        _fsync(path)
    shutil.rmtree(target, ignore_errors=True)
    temporary.rename(target)
    (target / MARKER).touch()
    _fsync(target)
    _fsync(root)
    for old in complete_checkpoints(root)[:-keep]:
        shutil.rmtree(old)
    unfinished = [path for path in root.glob("step_*") if not (path / MARKER).is_file()]
    for leftover in [*root.glob(".step_*.tmp"), *unfinished]:
        shutil.rmtree(leftover)
    return target


def complete_checkpoints(root: Path) -> list[Path]:
    """Checkpoints that were written to the end, oldest first."""
    return sorted(path for path in root.glob("step_*") if (path / MARKER).is_file())


def find_checkpoint(run_dir: Path, resume_path: str | None) -> Path:
    """The checkpoint to go on from: `resume_path`, or the newest complete one of the run.

    Raises FileNotFoundError naming the folder.
    """
    if resume_path is not None:
        path = Path(resume_path).expanduser()
        if not (path / MARKER).is_file():
            raise FileNotFoundError(f"training.resume_path is not a complete checkpoint: {path}")
        return path
    found = complete_checkpoints(run_dir / "checkpoints")
    if not found:
        raise FileNotFoundError(f"training.resume: no complete checkpoint in {run_dir / 'checkpoints'}")
    return found[-1]


def load_state(checkpoint: Path) -> dict[str, Any]:
    """The training state of a checkpoint, on the CPU. No code in the file is executed."""
    return torch.load(checkpoint / STATE, map_location="cpu", weights_only=True)


def replay_name(rank: int) -> str:
    """The file of a rank's windows."""
    return f"replay_{rank}.safetensors"


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
