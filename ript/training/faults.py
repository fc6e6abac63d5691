"""What ends a run from outside, in words for the user, with what was wrong beside the run."""

import logging
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from ript.env_runner.failure import EnvironmentFailure
from ript.storage.window_files import write_windows
from ript.training.checkpoint import complete_checkpoints
from ript.training.learner import NotFiniteGradient

logger = logging.getLogger(__name__)

FAULTS = (OSError, EnvironmentFailure, NotFiniteGradient)
"""A disk, a simulator, numbers: what a run cannot go on with, though its configuration is good."""


class RunFailed(Exception):
    """The run ended because of one of `FAULTS`; the message is one line, and says what is saved."""


def describe_fault(error: Exception, run_dir: Path, rank: int = 0) -> str:
    """One line on what happened, where the numbers of it are (this writes them), and where to go on from."""
    what = error.brief if isinstance(error, EnvironmentFailure) else str(error)
    dumped = _dump(error, run_dir / f"not_finite_rank_{rank}.safetensors")
    found = complete_checkpoints(run_dir / "checkpoints")
    kept = f"training.resume=true goes on from {found[-1]}" if found else "no checkpoint had been written"
    return f"{what}; {dumped}{kept}"


def _dump(error: Exception, path: Path) -> str:
    """Writes what the error holds; says where, or nothing if it holds nothing."""
    try:
        if isinstance(error, NotFiniteGradient):
            write_windows(path, error.windows, np.ones(len(error.windows)), [len(error.windows)])
        elif isinstance(error, EnvironmentFailure) and error.arrays:
            save_file({name: np.ascontiguousarray(array) for name, array in error.arrays.items()}, path)
        else:
            return ""
    except Exception:  # the fault itself must still be told
        logger.exception("%s could not be written", path)
        return ""
    return f"the numbers are in {path}; "
