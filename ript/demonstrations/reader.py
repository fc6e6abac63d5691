"""Reads demonstrations from HDF5 files: LIBERO's official ones and those of `ript.demonstrations.collect`.

The layout is described in `ript.demonstrations.recording`. A file is checked when it is opened, images only as they
are read.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from ript.demonstrations.recording import CAMERAS, ROBOT, RobotLayout
from ript.models.pi0.dims import MAX_ASPECT

logger = logging.getLogger(__name__)

_UNREADABLE = (OSError, RuntimeError, LookupError, TypeError, AttributeError, ValueError, ArithmeticError, MemoryError)
"""What h5py raises where a file's structures are damaged."""
_DEMO = re.compile(r"demo_(\d+)")


class _Problem(ValueError):
    """What is wrong with a file, by its key."""


class Start(NamedTuple):
    """What a demonstration starts from."""

    init_state: np.ndarray
    """(D,) float64 simulator state."""
    scene_seed: int | None = None
    """Seed that puts the fixtures where they were; None in official files."""


@dataclass(frozen=True)
class Demonstration:
    """One demonstration of T steps; everything but its images."""

    name: str
    """Its group in the file, `demo_0`."""
    actions: np.ndarray
    """(T, A) float64 commands in [-1, 1]."""
    proprioception: np.ndarray
    """(T, S) float64: the hand, then the gripper, like the adapter's `raw_state` of an observation."""
    image_steps: np.ndarray
    """(N,) int64, ascending: the steps that have images."""
    start_state: np.ndarray | None
    """(D,) float64 simulator state to start from; None in a LeRobot dataset that does not say."""
    scene_seed: int | None
    """Seed that puts the fixtures where they were; None in official files."""

    def __len__(self) -> int:
        return len(self.actions)


class Demonstrations:
    """The demonstrations of one task, in the order of their numbers: the groups `demo_<number>`, whatever lies beside.

    Args:
        path: an HDF5 file of one task.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not HDF5, truncated, or empty; a key is missing, of the wrong shape, or not finite. The message
            names file and key.
    """

    language: str | None
    """The instruction; None in a file that does not say, as OpenVLA's script writes it."""
    robot: RobotLayout
    """Which cameras, and how many numbers."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._owner = -1
        if not self.path.is_file():
            raise FileNotFoundError(f"demonstrations not found: {self.path}")
        try:
            self.language = self._read_language()
            self.robot = self._read_robot()
            self._demonstrations = [self._read(name) for name in self._names()]
        except _Problem:
            raise
        except _UNREADABLE as error:
            raise self._unreadable(error) from error
        finally:
            self.close()

    def __len__(self) -> int:
        return len(self._demonstrations)

    def __getitem__(self, index: int) -> Demonstration:
        return self._demonstrations[index]

    def __iter__(self) -> Iterator[Demonstration]:
        return iter(self._demonstrations)

    def images(self, index: int, step: int) -> dict[str, np.ndarray]:
        """The images (S, S, 3) uint8 of a step, upright, by π0's names of the cameras.

        Raises KeyError when the step has none, ValueError naming the file when it cannot be read.
        """
        demonstration = self[index]
        row = int(np.searchsorted(demonstration.image_steps, step))
        if row == len(demonstration.image_steps) or demonstration.image_steps[row] != step:
            raise KeyError(f"{self.path}: {demonstration.name} has no image at step {step}")
        try:
            observations = self._open()["data"][demonstration.name]["obs"]
            found = {camera: observations[CAMERAS[camera]][row] for camera in self.robot.cameras}
        except _UNREADABLE as error:
            raise self._unreadable(error) from error
        return {camera: np.ascontiguousarray(image[::-1, ::-1]) for camera, image in found.items()}

    def starts(self) -> list[Start]:
        """Where the demonstrations start."""
        return starts_of(self.path, self._demonstrations)

    def close(self) -> None:
        """Closes the file; reading an image opens it again."""
        if self._file is not None and self._owner == os.getpid():
            self._file.close()
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def _open(self) -> h5py.File:
        # An HDF5 handle must not be shared with the process this one was forked from.
        if self._file is None or self._owner != os.getpid():
            self._file, self._owner = h5py.File(self.path), os.getpid()
        return self._file

    def _names(self) -> list[str]:
        """Groups that are demonstrations."""
        data = self._open()["data"]
        found = {name: int(match[1]) for name in data if (match := _DEMO.fullmatch(name))}
        others = sorted(set(data) - set(found))
        if not found:
            raise self._problem("data", f"holds no demonstrations demo_<number>, but {', '.join(others)}")
        if others:
            logger.warning("%s: data/%s left out: not a demonstration", self.path, ", data/".join(others))
        return sorted(found, key=lambda name: found[name])

    def _read_language(self) -> str | None:
        file = self._open()
        if not isinstance(file.get("data"), h5py.Group) or not len(file["data"]):
            raise self._problem("data", "holds no demonstrations")
        if "problem_info" not in file["data"].attrs:
            return None
        try:
            return str(json.loads(file["data"].attrs["problem_info"])["language_instruction"])
        except (KeyError, TypeError, ValueError) as error:
            raise self._problem("data.attrs[problem_info]", "has no language_instruction") from error

    def _read_robot(self) -> RobotLayout:
        text = self._open()["data"].attrs.get(ROBOT)
        try:
            return RobotLayout() if text is None else RobotLayout.from_json(text)
        except (TypeError, ValueError) as error:
            raise self._problem(f"data.attrs[{ROBOT}]", f"is not valid: {error}") from error

    def _read(self, name: str) -> Demonstration:
        demo = self._open()["data"][name]
        robot = self.robot
        widths = {
            "actions": robot.actions,
            "states": None,
            "obs/ee_states": robot.ee_states,
            "obs/gripper_states": robot.gripper_states,
        }
        arrays = {key: self._array(demo, key, width) for key, width in widths.items()}
        length = len(arrays["actions"])
        for key, array in arrays.items():
            if len(array) != length:
                raise self._problem(f"data/{name}/{key}", f"has {len(array)} rows, actions has {length}")
        start_state = np.array(demo.attrs.get("init_state", arrays["states"][0]), np.float64)
        return Demonstration(
            name=name,
            actions=arrays["actions"],
            proprioception=np.concatenate([arrays["obs/ee_states"], arrays["obs/gripper_states"]], axis=1),
            image_steps=self._image_steps(demo, length),
            start_state=start_state,
            scene_seed=int(demo.attrs["scene_seed"]) if "scene_seed" in demo.attrs else None,
        )

    def _array(self, demo: h5py.Group, key: str, width: int | None) -> np.ndarray:
        where = f"{demo.name}/{key}"
        if key not in demo:
            raise self._problem(where, "is missing")
        shape = demo[key].shape
        if len(shape) != 2 or shape[0] == 0 or (width is not None and shape[1] != width):
            raise self._problem(where, f"has shape {shape}, expected (T, {width or 'D'})")
        array = np.asarray(demo[key], np.float64)
        if not np.isfinite(array).all():
            raise self._problem(where, "holds NaN or Inf")
        return array

    def _image_steps(self, demo: h5py.Group, length: int) -> np.ndarray:
        where = f"{demo.name}/obs"
        steps = np.asarray(demo["obs/image_steps"]) if "obs/image_steps" in demo else np.arange(length)
        if (np.diff(steps) <= 0).any() or (len(steps) and not 0 <= steps[0] <= steps[-1] < length):
            raise self._problem(f"{where}/image_steps", f"is not ascending within 0..{length - 1}")
        for camera in [CAMERAS[name] for name in self.robot.cameras] if len(steps) else ():
            if camera not in demo["obs"]:
                raise self._problem(f"{where}/{camera}", "is missing")
            images = demo["obs"][camera]
            if not _are_images(images) or len(images) != len(steps):
                expected = f"({len(steps)}, H, W, 3) uint8"
                raise self._problem(f"{where}/{camera}", f"is {images.shape} {images.dtype}, expected {expected}")
        return steps

    def _unreadable(self, error: Exception) -> ValueError:
        return ValueError(f"{self.path}: not a readable HDF5 file ({error})")

    def _problem(self, where: str, what: str) -> ValueError:
        return _Problem(f"{self.path}: {where.removeprefix('/')} {what}")


def starts_of(path: Path, demonstrations: Iterable[Demonstration]) -> list[Start]:
    """Where demonstrations start. Raises ValueError naming `path` for one that does not say."""
    found = []
    for demonstration in demonstrations:
        if demonstration.start_state is None:
            raise ValueError(f"{path}: {demonstration.name} has no start state; datasets exported by this project have")
        found.append(Start(demonstration.start_state, demonstration.scene_seed))
    return found


def _are_images(images: h5py.Dataset) -> bool:
    shape = images.shape
    if len(shape) != 4 or shape[3] != 3 or images.dtype != np.uint8:
        return False
    return 0 < max(shape[1:3]) <= MAX_ASPECT * min(shape[1:3])


def find_demonstrations(paths: list[Path]) -> list[Path]:
    """HDF5 files among files and, recursively, folders; in folders without hidden ones, such as macOS's `._<name>`.

    Raises FileNotFoundError for a path that has none.
    """
    files: list[Path] = []
    for path in paths:
        found = _files_in(path) if path.is_dir() else [path] * path.is_file()
        if not found:
            raise FileNotFoundError(f"no demonstrations (*.hdf5) at {path}")
        files += found
    return files


def _files_in(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.hdf5"))
    return [file for file in found if not file.name.startswith(".") and not file.parent.name.endswith(".parts")]
