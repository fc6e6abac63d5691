"""`train_ript_pi0.py` in processes forked from one that has torch imported already: for tests of what it refuses."""

import multiprocessing
import os
import runpy
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).parents[1] / "train_ript_pi0.py"

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["ript.training.loop"])


class Ended(NamedTuple):
    exit_code: int | None
    errors: str


def run_program(folder: Path, *overrides: str, timeout_s: float = 60) -> Ended:
    """Runs the program in a folder to its end, as a process of its own."""
    errors = folder.with_name(f"{folder.name}.stderr")
    process = _context.Process(target=_main, args=(folder, errors, overrides))
    process.start()
    process.join(timeout_s)
    process.kill()
    process.join()
    return Ended(process.exitcode, errors.read_text())


def _main(folder: Path, errors: Path, overrides: tuple[str, ...]) -> None:
    os.chdir(folder)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), sys.stderr.fileno())
    sys.argv = [str(SCRIPT), *overrides]
    runpy.run_path(str(SCRIPT), run_name="__main__")
