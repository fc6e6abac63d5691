"""The plane itself, without a network: processes of environments import this module."""

import hashlib
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from ript.env_runner.vec_env import Chunk, ChunkResult, Observation, StartOfEpisode

TASKS = ("reach_the_right", "reach_the_top")
TARGETS = np.array([[0.8, 0.0], [0.0, 0.8]])
RADIUS = 0.25
SPEED = 0.1
IMAGE_SIZE = 28


class PlanarEnv:
    """The point starts near the origin; each step moves it by at most `SPEED` along x and y.

    The action `(7,)` is π0's own, of which the plane takes x and y.
    """

    def __init__(self, task_id: int):
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        self.target = TARGETS[task_id]
        self.position = np.zeros(2)

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None) -> StartOfEpisode:
        drawn = np.random.default_rng(scene_seed).uniform(-0.05, 0.05, 2)
        self.position = drawn if init_state is None else np.array(init_state, np.float64)
        scene = hashlib.sha256(self.position.tobytes() + self.target.tobytes()).hexdigest()
        return StartOfEpisode(self._observation(), self.position.copy(), scene)

    def step_chunk(self, chunk: Chunk) -> ChunkResult:
        seen: dict[int, Observation] = {}
        rewards = []
        for executed, action in enumerate(chunk.actions, start=1):
            self.position = self.position + SPEED * np.clip(action[:2], -1, 1)
            reached = bool(np.linalg.norm(self.position - self.target) < RADIUS)
            rewards.append(float(reached))
            due = chunk.observe_every is not None and executed % chunk.observe_every == 0
            if chunk.observe_last if executed == len(chunk.actions) else due:
                seen[executed] = self._observation()
            if reached:
                break
        return ChunkResult(np.array(rewards), len(rewards), bool(rewards[-1]), seen, [])

    def _observation(self) -> Observation:
        image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for point, channel in ((self.position, 0), (self.target, 1)):
            row, column = np.clip(((point + 1) / 2 * IMAGE_SIZE).astype(int), 0, IMAGE_SIZE - 1)
            image[-1 - row, -1 - column, channel] = 255
        return {"view": image, "point": self.position.copy(), "target": self.target}


class PlaneInProcess(PlanarEnv):
    """A plane in a process of its own. It dies in its next chunk if there is a file `die`, hangs if `hang`."""

    def __init__(self, folder: Path, task_id: int):
        super().__init__(task_id)
        self.folder = folder

    def reset(self, num_steps_wait: int = 0, **start: Any) -> StartOfEpisode:
        return super().reset(**start)

    def step_chunk(self, **chunk: Any) -> ChunkResult:
        if self._takes("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._takes("hang"):
            time.sleep(300)
        return super().step_chunk(Chunk(**chunk))

    def close(self) -> None:
        pass

    def _takes(self, name: str) -> bool:
        try:
            (self.folder / name).unlink()
        except FileNotFoundError:
            return False
        return True


class UnevenPlane(PlaneInProcess):
    """A plane whose resets and chunks take times that nobody knows."""

    def reset(self, **start: Any) -> StartOfEpisode:
        time.sleep(random.SystemRandom().uniform(0, 0.02))
        return super().reset(**start)

    def step_chunk(self, **chunk: Any) -> ChunkResult:
        time.sleep(random.SystemRandom().uniform(0, 0.02))
        return super().step_chunk(**chunk)


class MeetingPlane(PlaneInProcess):
    """A plane that makes a file `stepping` in each chunk, and waits in it for a file `inferring`."""

    def step_chunk(self, **chunk: Any) -> ChunkResult:
        (self.folder / "stepping").touch()
        wait_for(self.folder / "inferring")
        return super().step_chunk(**chunk)


def wait_for(path: Path) -> None:
    """Raises TimeoutError when there is no such file after 20 s."""
    deadline = time.monotonic() + 20
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {path.name} after 20 s")
        time.sleep(0.002)
