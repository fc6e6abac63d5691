"""What the collector asks of a simulator that can solve its tasks by itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ript.demonstrations.demonstration_files import Try
from ript.env_runner.vec_env import Benchmark


@dataclass(frozen=True)
class DemonstratorSettings:
    """What demonstrations depend on."""

    suite: str
    seed: int = 0
    image_size: int = 128
    image_every: int = 5
    """Record images at every so many steps; 0 records none."""
    fast_render: bool = False

    def as_dict(self) -> dict[str, Any]:
        """For files."""
        return dataclasses.asdict(self)


class TaskDemonstrator(Protocol):
    """Solves tasks of one suite, in a worker process of its own."""

    def demonstrate(self, task_id: int, number: int, part: Path) -> Try:
        """Tries a task once, in the scene of try `number`; a success is written to `part`, by `write_part`."""

    def close(self) -> None:
        """Frees the simulator."""


@runtime_checkable
class Demonstrated(Protocol):
    """A `Simulator` of a suite whose tasks can be demonstrated."""

    @property
    def benchmark(self) -> Benchmark:
        """Its tasks."""

    @property
    def demonstrations(self) -> Path:
        """The folder that holds a folder of demonstrations for each suite, relative to the checkout."""

    def make_demonstrator(self, settings: DemonstratorSettings) -> Callable[[], TaskDemonstrator]:
        """What makes a demonstrator; it is pickled and called in each worker."""

    def file_attributes(self, task_id: int) -> dict[str, Any]:
        """Attributes of the group `data` in a task's file, with `problem_info`: JSON with a `language_instruction`."""
