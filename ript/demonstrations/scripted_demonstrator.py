"""What all demonstrators with a scripted expert share: a simulator that is kept, episodes with noise, tries written."""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from ript.demonstrations.demonstration_files import Try, write_part
from ript.demonstrations.perturbation import NOISE_LEVELS, demonstration_seed, noise_steps
from ript.demonstrations.recording import Recording
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.vec_env import Benchmark, ChunkResult, Observation, Render, StartOfEpisode
from ript.seeds import Word, numpy_generator


class TaskEnv(Protocol):
    """An environment that takes up one task after the other."""

    def load_task(self, task_id: int) -> None:
        """Take up another task."""

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 0) -> StartOfEpisode:
        """Start an episode."""

    def step_chunk(
        self, actions: np.ndarray, observe_every: int | None = None, observe_last: bool = True
    ) -> ChunkResult:
        """Execute actions."""

    def close(self) -> None:
        """Free the simulation."""


Env = TypeVar("Env", bound=TaskEnv)


class ScriptedDemonstrator(ABC, Generic[Env]):
    """Solves tasks of one suite with a scripted expert and writes down how: a `TaskDemonstrator`.

    Args:
        settings: what demonstrations depend on.
        make_env: of suite, task id, image size, whether there are images, and how they are rendered.
        benchmark: the suite.
    """

    moving: int
    """Numbers of a command, the first ones, that noise is added to."""
    noise_scale: float = 1.0
    """What the levels of noise are multiplied with, where commands go farther than LIBERO's."""

    def __init__(
        self,
        settings: DemonstratorSettings,
        make_env: Callable[[str, int, int, bool, Render], Env],
        benchmark: Benchmark,
    ) -> None:
        self._settings, self._make_env, self._benchmark = settings, make_env, benchmark
        self._task_id = -1
        self._env: Env | None = None

    @abstractmethod
    def commands(self, env: Env) -> Iterator[np.ndarray]:
        """What the expert commands `(A,)`, step by step, each from where the environment then is."""

    @abstractmethod
    def images(self, seen: Observation) -> Mapping[str, np.ndarray]:
        """Images of an observation, by π0's names of their cameras, upside down as files have them."""

    @abstractmethod
    def row(self, env: Env, action: np.ndarray, commanded: np.ndarray) -> Mapping[str, np.ndarray]:
        """A step's row of each dataset: what is there before the action, and what is done (see `recording`)."""

    def record(self, env: Env, scene_seed: int, number: int = 0) -> tuple[Recording, bool]:
        """One episode, and whether it solved the task.

        Noise is added to the expert's commands, so that the data shows how to recover. What is executed is the label:
        a policy plays many steps open loop, and the commands alone, with their answers to noise that the policy does
        not have, would lead it astray.
        """
        rng = numpy_generator(Word.DEMONSTRATION, scene_seed)
        every = self._settings.image_every
        start = env.reset(scene_seed, num_steps_wait=self._benchmark.num_steps_wait)
        level = self.noise_scale * float(rng.choice(NOISE_LEVELS))
        recording = Recording(number, scene_seed, level, start.init_state)
        seen, success = start.observation, False
        commands = itertools.islice(self.commands(env), self._benchmark.max_episode_length)
        for command, noise in zip(commands, noise_steps(rng, level, self.moving), strict=False):
            commanded = np.clip(command, -1, 1).astype(np.float64)
            action = commanded.copy()
            action[: self.moving] = np.clip(commanded[: self.moving] + noise, -1, 1)
            step = len(recording)
            if every and step % every == 0:
                recording.add_images(self.images(seen))
            recording.add_step(self.row(env, action, commanded))
            is_due = bool(every) and (step + 1) % every == 0
            result = env.step_chunk(action[None], observe_last=is_due)
            seen, success = result.observations.get(1, {}), result.success
            if success:
                break
        return recording, success

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
