"""Demonstrations of a run's tasks, whatever format they are in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ript.demonstrations.reader import Demonstration, Demonstrations, Start
from ript.demonstrations.recording import RobotLayout


class Source(Protocol):
    """The demonstrations of one task."""

    path: Path
    language: str | None
    """The instruction; None where the file does not say."""
    robot: RobotLayout
    """Which cameras, and how many numbers."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Demonstration: ...
    def __iter__(self) -> Iterator[Demonstration]: ...
    def images(self, index: int, step: int) -> dict[str, np.ndarray]:
        """The images (H, W, 3) uint8 of a step, upright, by π0's names of the cameras."""

    def starts(self) -> list[Start]:
        """Where the demonstrations start."""


def is_lerobot(folder: Path) -> bool:
    """Whether a folder holds a LeRobot dataset."""
    return (folder / "meta" / "info.json").is_file()


def task_sources(
    demonstrations: str, tasks: Mapping[str, str], lerobot_features: Mapping[str, Any] | None = None
) -> dict[str, Source]:
    """Task → its demonstrations, in a folder of `<task>_demo.hdf5` or in a LeRobot dataset.

    Args:
        demonstrations: the folder.
        tasks: name → instruction.
        lerobot_features: see `FeatureOptions`.

    Raises FileNotFoundError or ValueError naming file and key.
    """
    folder = Path(demonstrations).expanduser()
    if not is_lerobot(folder):
        return {name: Demonstrations(folder / f"{name}_demo.hdf5") for name in tasks}
    from ript.demonstrations.lerobot.reader import LeRobotDataset  # reads parquet and video: a second to import

    dataset = LeRobotDataset(folder, lerobot_features)
    return {name: dataset.of_task(language, name) for name, language in tasks.items()}


def task_instructions(runner: Any) -> dict[str, str]:
    """Name → instruction of the runner's tasks."""
    benchmark = runner.benchmark
    return {name: benchmark.get_language(benchmark.get_task_id(name)) for name in runner.task_names}
