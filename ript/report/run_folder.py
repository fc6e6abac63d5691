"""What the folder of a training run holds, read from its files alone."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from ript.json_files import read_json, read_lines
from ript.results.curves import Curve
from ript.results.videos import VIDEOS, Film, films_in, step_folder

METRICS, DIAGNOSES, CONFIG, STARTS = "metrics.jsonl", "diagnosis.jsonl", "config.yaml", "run.json"

Line = dict[str, Any]
"""A line of `metrics.jsonl`."""


@dataclass(frozen=True)
class RunFolder:
    """A run, finished or not."""

    path: Path
    train: list[Line]
    """One per iteration."""
    evaluations: list[Line]
    diagnoses: list[Line]
    config: Any
    """The run's configuration; empty if its file is missing."""
    starts: list[Line]
    """When and on what the run was started and resumed; see `ript.training.run_record`."""

    @cached_property
    def steps(self) -> np.ndarray:
        """(N,) numbers of the iterations."""
        return np.array([line["step"] for line in self.train])

    @cached_property
    def env_steps(self) -> np.ndarray:
        """(N,) environment steps from the run's beginning to the end of each iteration; zeros without rollouts."""
        return np.cumsum([line.get("env_steps", 0.0) for line in self.train])

    @property
    def elapsed_s(self) -> float | None:
        """Wall time of the run in seconds, the time between a stop and a resumption left out."""
        last = [lines[-1].get("time/elapsed_s") for lines in (self.train, self.evaluations) if lines]
        return max((seconds for seconds in last if seconds is not None), default=None)

    def env_steps_at(self, step: int) -> float:
        """Environment steps up to the end of iteration `step`."""
        done = int(np.searchsorted(self.steps, step, side="right"))
        return float(self.env_steps[done - 1]) if done else 0.0

    def curve(self, name: str) -> Curve | None:
        """A metric over iterations, where it was logged; None if it never was."""
        points = [(line["step"], line[name]) for line in self.train if name in line]
        return Curve(*np.array(points, float).T) if points else None

    def films(self, step: int) -> list[Film]:
        """The videos of the evaluation after iteration `step`: by task and index."""
        found = films_in(self.path / VIDEOS / step_folder(step))
        return sorted(found, key=lambda film: (film.task, film.index))


def read_run(path: Path) -> RunFolder:
    """Reads a run's folder. Raises FileNotFoundError or ValueError, each of one line that names the file."""
    if not path.is_dir():
        raise FileNotFoundError(f"no such folder: {path}")
    if not (path / METRICS).is_file():
        raise FileNotFoundError(f"{path} is not the folder of a run: it has no {METRICS}")
    lines = read_lines(path / METRICS)
    config = OmegaConf.load(path / CONFIG) if (path / CONFIG).is_file() else OmegaConf.create()
    return RunFolder(
        path=path,
        train=[line for line in lines if line["phase"] == "train"],
        evaluations=[line for line in lines if line["phase"] == "eval"],
        diagnoses=read_lines(path / DIAGNOSES) if (path / DIAGNOSES).is_file() else [],
        config=config,
        starts=read_json(path / STARTS)["starts"] if (path / STARTS).is_file() else [],
    )
