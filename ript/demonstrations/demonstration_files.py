"""Collected demonstrations on disk: an HDF5 file per task, and a folder of parts while it grows.

Every try leaves a part that appears whole or not at all, so a collection can be killed at any moment. When a task has
enough, its parts are moved into the task's file, again at once.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ript.demonstrations.recording import Recording, write_recording
from ript.json_files import read_json, unfinished, write_json

_SETTINGS = "settings.json"
_SLACK_BYTES = 1 << 20
"""What a merged file may be larger than what goes into it."""


@dataclass(frozen=True)
class Try:
    """One attempt to demonstrate a task."""

    number: int
    scene_seed: int
    noise: float
    success: bool
    steps: int
    seconds: float
    """Wall-clock time, resetting and rendering included."""


_TRY_ROW = np.dtype(
    [("number", "i8"), ("scene_seed", "i8"), ("noise", "f8"), ("success", "?"), ("steps", "i8"), ("seconds", "f8")]
)


class TaskFile:
    """The demonstrations of one task: `<task>_demo.hdf5` and the parts not yet moved into it.

    Args:
        path: the HDF5 file, which need not exist.
        attributes: what the file says about its task; the instruction is in `problem_info`.
        settings: what the demonstrations depend on; they cannot be mixed.

    Raises:
        ValueError: there are demonstrations made with other settings, or the file is not readable.
    """

    tries: dict[int, Try]
    """All tries so far, by number."""

    def __init__(self, path: Path, attributes: Mapping[str, Any], settings: dict[str, Any]) -> None:
        self.path = path
        self._attributes = attributes
        self.parts = path.with_suffix(".parts")
        self._settings = settings
        merged = self._merged_tries()
        self.tries = merged | self._part_tries()
        self._merged = set(merged)

    def part(self, number: int) -> Path:
        """Where a try's recording goes; `write_part` and `add` make it count."""
        return self.parts / f"try_{number:06d}.hdf5"

    def add(self, attempt: Try) -> None:
        """Marks a try as done; its part, if it has one, was written before."""
        self.tries[attempt.number] = attempt
        write_json(self.part(attempt.number).with_suffix(".json"), dataclasses.asdict(attempt))

    def prepare(self) -> None:
        """Makes the folder of parts."""
        self.parts.mkdir(parents=True, exist_ok=True)
        write_json(self.parts / _SETTINGS, self._settings)

    def merge(self) -> None:
        """Moves all parts into the file."""
        if set(self.tries) == self._merged:
            shutil.rmtree(self.parts, ignore_errors=True)
            return
        with unfinished(self.path) as temporary:
            self._reserve_space(temporary)
            grows = self.path.exists()
            if grows:
                shutil.copyfile(self.path, temporary)
            with h5py.File(temporary, "r+" if grows else "w") as file:
                self._merge_into(file)
        self._merged = set(self.tries)
        shutil.rmtree(self.parts)

    def _reserve_space(self, temporary: Path) -> None:
        """Raises OSError where there is no room for the merged file: HDF5 itself crashes the process."""
        sources = [path for path in (self.path, *self.parts.glob("try_*.hdf5")) if path.exists()]
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, sum(path.stat().st_size for path in sources) + _SLACK_BYTES)

    def _merge_into(self, file: h5py.File) -> None:
        data = file.require_group("data")
        for number in sorted(number for number in self.tries if number not in self._merged):
            if self.tries[number].success:
                with h5py.File(self.part(number)) as part:
                    file.copy(part["demo"], data, f"demo_{len(data)}")
        self._describe(file)

    def _describe(self, file: h5py.File) -> None:
        data = file["data"]
        for name, value in self._attributes.items():
            data.attrs[name] = value
        data.attrs["num_demos"] = len(data)
        data.attrs["total"] = sum(int(demo.attrs["num_samples"]) for demo in data.values())
        data.attrs["collection"] = json.dumps(self._settings)
        if "tries" in file:
            del file["tries"]
        rows = [dataclasses.astuple(self.tries[number]) for number in sorted(self.tries)]
        file["tries"] = np.array(rows, _TRY_ROW)

    def _merged_tries(self) -> dict[int, Try]:
        if not self.path.exists():
            return {}
        settings, tries = read_tries(self.path)
        self._check(settings, self.path)
        return {attempt.number: attempt for attempt in tries}

    def _part_tries(self) -> dict[int, Try]:
        settings = self.parts / _SETTINGS
        if not settings.exists():
            return {}
        self._check(read_json(settings), self.parts)
        tries = [Try(**read_json(path)) for path in sorted(self.parts.glob("try_*.json"))]
        return {attempt.number: attempt for attempt in tries}

    def _check(self, settings: dict[str, Any], where: Path) -> None:
        changed = [key for key, value in self._settings.items() if settings.get(key) != value]
        if changed:
            was = ", ".join(f"{key}={settings.get(key)!r} (now {self._settings[key]!r})" for key in changed)
            raise ValueError(f"{where} was collected with {was}; choose another folder or the same options")


def write_part(path: Path, recording: Recording) -> None:
    """Writes a recording as `demo` into a file that appears when it is complete. Raises OSError naming the file."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        write_recording(file.create_group("demo"), recording)
    with unfinished(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def was_collected(path: Path) -> bool:
    """Whether a file is the collector's rather than an official one."""
    with h5py.File(path) as file:
        return "tries" in file


def read_tries(path: Path) -> tuple[dict[str, Any], list[Try]]:
    """Settings and tries of a collected file. Raises ValueError for files that `collect` did not write."""
    try:
        with h5py.File(path) as file:
            if "tries" not in file or "collection" not in file["data"].attrs:
                raise ValueError(f"{path} was not written by this collector; choose another folder")
            rows = file["tries"][:].tolist()
            return json.loads(file["data"].attrs["collection"]), [Try(*row) for row in rows]
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file ({error})") from error
