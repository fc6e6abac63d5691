"""What all demonstrators with a scripted expert share: a simulator that is kept, tries that are timed and written."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from ript.demonstrations.demonstration_files import Try, write_part
from ript.demonstrations.perturbation import demonstration_seed
from ript.demonstrations.recording import Recording
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.vec_env import Render


class TaskEnv(Protocol):
    """An environment that takes up one task after the other."""

    def load_task(self, task_id: int) -> None:
        """Take up another task."""

    def close(self) -> None:
        """Free the simulation."""


Env = TypeVar("Env", bound=TaskEnv)


class ScriptedDemonstrator(ABC, Generic[Env]):
    """Solves tasks of one suite with a scripted expert and writes down how: a `TaskDemonstrator`.

    Args:
        settings: what demonstrations depend on.
        make_env: of suite, task id, image size, whether there are images, and how they are rendered.
    """

    def __init__(self, settings: DemonstratorSettings, make_env: Callable[[str, int, int, bool, Render], Env]) -> None:
        self._settings, self._make_env = settings, make_env
        self._task_id = -1
        self._env: Env | None = None

    @abstractmethod
    def record(self, env: Env, scene_seed: int, number: int = 0) -> tuple[Recording, bool]:
        """One episode, and whether it solved the task."""

    def demonstrate(self, task_id: int, number: int, part: Path) -> Try:
        """Tries a task once in a scene of its own; a success is written to `part`."""
        started = time.perf_counter()
        env = self._env_of(task_id)
        scene_seed = demonstration_seed(self._settings.seed, self._settings.suite, task_id, number)
        recording, success = self.record(env, scene_seed, number)
        if success:
            write_part(part, recording)
        seconds = round(time.perf_counter() - started, 2)
        return Try(number, recording.scene_seed, recording.noise, success, len(recording), seconds)

    def close(self) -> None:
        """Closes the simulator."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _env_of(self, task_id: int) -> Env:
        if self._env is None:
            settings = self._settings
            render: Render = "fast" if settings.fast_render else "exact"
            self._env = self._make_env(settings.suite, task_id, settings.image_size, settings.image_every > 0, render)
        elif task_id != self._task_id:
            self._env.load_task(task_id)
        self._task_id = task_id
        return self._env
