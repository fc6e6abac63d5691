"""Task lists, instructions and initial states of LIBERO and LIBERO-PRO, without the simulator.

The only module that knows how the installed LIBERO distribution stores its suites.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ript.simulators.libero.suites import SUITE_MAX_STEPS

LIBERO_HOME = Path(__file__).parents[3] / "LIBERO"
"""The checkout's LIBERO folder: path configuration and demonstrations."""

# Read by LIBERO when it is imported; without it, it would look into the user's home.
os.environ.setdefault("LIBERO_CONFIG_PATH", str(LIBERO_HOME))

from libero.libero import benchmark as libero_suites  # noqa: E402


class LiberoBenchmark:
    """One suite of LIBERO tasks: names, instructions, scene files and evaluation states.

    Args:
        name: a suite of `SUITE_MAX_STEPS`.

    Raises:
        ValueError: there is no such suite.
    """

    name: str
    """The suite's name."""

    n_tasks: int
    """How many tasks it has; task ids run from 0 to n_tasks - 1."""

    max_episode_length: int
    """Control steps after which an episode counts as failed."""

    num_steps_wait = 10
    """Steps in which objects settle, as in the official evaluation."""

    def __init__(self, name: str) -> None:
        if name not in SUITE_MAX_STEPS:
            raise ValueError(_unknown("LIBERO suite", name, list(SUITE_MAX_STEPS)))
        self.name = name
        self.max_episode_length = SUITE_MAX_STEPS[name]
        # The constructor prints the order in which it lists the tasks.
        with contextlib.redirect_stdout(io.StringIO()):
            self._suite = libero_suites.get_benchmark(name)()
        self.n_tasks = self._suite.get_num_tasks()

    def get_task_names(self) -> list[str]:
        """Names of all tasks, in the order of their ids."""
        return list(self._suite.get_task_names())

    def get_task_id(self, task_name: str) -> int:
        """The id of the task called `task_name`; ValueError if the suite has none."""
        names = self.get_task_names()
        if task_name not in names:
            raise ValueError(_unknown(f"task of {self.name}", task_name, names))
        return names.index(task_name)

    def get_language(self, task_id: int) -> str:
        """The instruction a policy is prompted with.

        Demonstrations and published results take it from the task's file name. The scene file words 34 of the
        130 standard instructions differently ("Pick the akita black bowl …" for "pick up the black bowl …").
        LIBERO-PRO's `lan` and `task` suites keep the original file names and write their new instruction, a
        paraphrase or another goal, into the scene file alone.
        """
        if self.name.endswith(("_lan", "_task")):
            return _scene_instruction(Path(self.get_bddl_file(task_id)))
        return str(self._task(task_id).language)

    def get_bddl_file(self, task_id: int) -> str:
        """Path of the BDDL file that describes the task's scene and goal."""
        self._task(task_id)
        return str(self._suite.get_task_bddl_file_path(task_id))

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation states `(50, D)` float64, flattened simulator states; D varies by task."""
        self._task(task_id)
        return np.asarray(self._suite.get_task_init_states(task_id), dtype=np.float64)

    def _task(self, task_id: int) -> Any:
        if not 0 <= task_id < self.n_tasks:
            raise ValueError(f"task id {task_id} of {self.name} is not in 0..{self.n_tasks - 1}")
        return self._suite.get_task(task_id)


def _scene_instruction(bddl_file: Path) -> str:
    found = re.search(r"\(:language\s+([^)]*)\)", bddl_file.read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{bddl_file} has no (:language …) instruction")
    return found.group(1).strip()


def _unknown(kind: str, value: str, valid: Sequence[str]) -> str:
    by_lower = {name.lower(): name for name in valid}
    nearest = by_lower[difflib.get_close_matches(value.lower(), by_lower, n=1, cutoff=0.0)[0]]
    return f"unknown {kind}: {value!r}; did you mean {nearest!r}? Valid: {', '.join(valid)}"
