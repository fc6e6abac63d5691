"""Images of a dataset: as PNG or JPEG in the rows of parquet files, or as frames of videos."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import av
import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image

from ript.demonstrations.lerobot.metadata import EpisodeEntry

_KEPT_FILES, _KEPT_GROUPS = 16, 4
K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The results of the latest few calls. Empty again after a fork: handles must not be shared."""

    def __init__(self, make: Callable[[K], V], kept: int) -> None:
        self._make, self._kept = make, kept
        self._values: OrderedDict[K, V] = OrderedDict()
        self._owner = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_values": OrderedDict()}

    def __getitem__(self, key: K) -> V:
        if self._owner != os.getpid():
            self._values, self._owner = OrderedDict(), os.getpid()
        if key not in self._values:
            self._values[key] = self._make(key)
            if len(self._values) > self._kept:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


class ParquetImages:
    """Images in rows. A row group is read for an image in it; memory holds a few of them, whatever lies on the disk."""

    def __init__(self) -> None:
        self._files: Recent[Path, pyarrow.parquet.ParquetFile] = Recent(_open_parquet, _KEPT_FILES)
        self._groups: Recent[tuple[Path, int, str], pyarrow.ChunkedArray] = Recent(self._read, _KEPT_GROUPS)
        self._ends: dict[Path, np.ndarray] = {}

    def image(self, episode: EpisodeEntry, camera: str, step: int) -> np.ndarray:
        """(H, W, 3) uint8. Raises ValueError naming file, column and row."""
        row = episode.row + step
        try:
            group, place = self._find(episode.file, row)
            content = self._groups[episode.file, group, camera][place].as_py()["bytes"]
            if content is None:
                raise ValueError("holds no image")
            return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        except (pyarrow.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{episode.file}: {camera}, row {row}: no readable image ({error})") from error

    def _find(self, path: Path, row: int) -> tuple[int, int]:
        """Row group, and the row's place in it."""
        if path not in self._ends:
            metadata = self._files[path].metadata
            self._ends[path] = np.cumsum([metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)])
        group = int(np.searchsorted(self._ends[path], row, side="right"))
        return group, row - (int(self._ends[path][group - 1]) if group else 0)

    def _read(self, key: tuple[Path, int, str]) -> pyarrow.ChunkedArray:
        path, group, camera = key
        return self._files[path].read_row_group(group, columns=[f"{camera}.bytes"], use_threads=False)[camera]


class VideoImages:
    """Frames of videos, by time.

    Args:
        fps: frames per second.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._files: Recent[Path, Any] = Recent(_open_video, _KEPT_FILES)

    def image(self, episode: EpisodeEntry, camera: str, step: int) -> np.ndarray:
        """(H, W, 3) uint8. Raises ValueError naming file, camera and time."""
        part = episode.videos[camera]
        time = part.start_s + step / self._fps
        try:
            return self._seek(self._files[part.path], time)
        except (av.FFmpegError, OSError, ValueError, LookupError) as error:
            raise ValueError(f"{part.path}: {camera}, second {time:.3f}: no readable frame ({error})") from error

    def _seek(self, container: Any, time: float) -> np.ndarray:
        stream, half = container.streams.video[0], 0.5 / self._fps
        container.seek(max(0, int((time - half) / stream.time_base)), stream=stream)
        for frame in container.decode(stream):
            if frame.time > time - half:
                if frame.time >= time + half:
                    break
                return frame.to_ndarray(format="rgb24")
        raise ValueError("the video has no frame then")


def _open_parquet(path: Path) -> pyarrow.parquet.ParquetFile:
    return pyarrow.parquet.ParquetFile(path, memory_map=True)


def _open_video(path: Path) -> Any:
    container = av.open(str(path))
    container.streams.video[0].thread_type = "NONE"  # one frame at a time gains nothing from threads
    return container
