"""Writes LeRobot v3.0 datasets, episode by episode."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from ript.demonstrations.lerobot.encoding import VideoFile, encode_png
from ript.demonstrations.lerobot.features import EXACT_ACTION, EXACT_STATE
from ript.demonstrations.lerobot.layout import FILE_BYTES, NUMBERS, PLACE, describe, file_numbers, task_table
from ript.demonstrations.lerobot.metadata import EXTRA
from ript.demonstrations.lerobot.reader import HAS_IMAGE
from ript.demonstrations.lerobot.statistics import histogram, sampled, summarize_numbers, summarize_pixels
from ript.json_files import write_json
from ript.models.pi0.export import IMAGES

_GROUP_ROWS = 16
"""Rows per row group: what is read to get at one image."""


@dataclass(frozen=True)
class LoggedEpisode:
    """An episode of T steps to be written."""

    instruction: str
    states: np.ndarray
    """(T, 8) float64."""
    actions: np.ndarray
    """(T, 7) float64."""
    images: Mapping[int, Mapping[str, np.ndarray]]
    """Step → π0's camera → (H, W, 3) uint8, upright; may read an image only when it is asked for."""
    rewards: np.ndarray
    """(T,) float64."""
    success: bool
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the dataset says of it: `task`, `init_state`, `scene_seed`, `group`. The same keys for each episode."""


class DatasetWriter:
    """A dataset in the making; it appears at `folder` when the block ends well, and not at all otherwise.

    Args:
        folder: must not exist.
        fps: control steps per second.
        videos: H.264 videos (lossy) in place of PNG images.
        sparse: some frames have no image; LeRobot loads those as None and cannot batch them.

    Raises ValueError for a folder that exists.
    """

    def __init__(self, folder: Path, fps: int, videos: bool = False, sparse: bool = False) -> None:
        if folder.exists():
            raise ValueError(f"{folder} exists; choose another folder")
        self._folder, self._fps, self._videos, self._sparse = folder, fps, videos, sparse
        self._root = folder.with_name(f"{folder.name}.unfinished")
        self._tasks: dict[str, int] = {}
        self._episodes: list[dict[str, Any]] = []
        self._numbers: dict[str, list[np.ndarray]] = defaultdict(list)
        self._pixels: dict[str, np.ndarray] = {}
        self._looked_at = 0
        self._shapes: dict[str, list[int]] = {}
        self._frames = self._files = self._bytes = 0
        self._parquet: pyarrow.parquet.ParquetWriter | None = None

    def __enter__(self) -> DatasetWriter:
        shutil.rmtree(self._root, ignore_errors=True)
        (self._root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parquet is not None:
            self._parquet.close()
        if kind is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            return
        self._write_metadata()
        self._root.replace(self._folder)

    def add(self, episode: LoggedEpisode) -> None:
        """Writes an episode. Raises ValueError for images missing or of another size than those before."""
        length = len(episode.actions)
        missing = sorted(set(range(length)) - set(episode.images))
        if missing and not self._sparse:
            raise ValueError(f"no image at step {missing[0]} ({len(missing)} of {length} steps have none)")
        number = len(self._episodes)
        columns = self._columns(episode, number)
        statistics = {name: summarize_numbers(rows) for name, rows in columns.items()}
        images, counts = self._encode(episode, number)
        looked_at = len(sampled(len(episode.images)))
        statistics |= {name: summarize_pixels(count, looked_at) for name, count in counts.items()}
        self._write_rows(columns, images)
        for name, rows in columns.items():
            self._numbers[name].append(rows)
        for name, count in counts.items():
            self._pixels[name] = self._pixels.get(name, 0) + count
        self._looked_at += looked_at
        self._episodes.append(self._entry(episode, number, statistics))
        self._frames += length

    def _columns(self, episode: LoggedEpisode, number: int) -> dict[str, np.ndarray]:
        """Feature → (T, D) numbers."""
        length = len(episode.actions)
        steps, last = np.arange(length), np.arange(length) == length - 1
        task = self._tasks.setdefault(episode.instruction, len(self._tasks))
        found = {
            "observation.state": episode.states,
            "action": episode.actions,
            EXACT_STATE: episode.states,
            EXACT_ACTION: episode.actions,
            "next.reward": episode.rewards,
            "next.success": last & episode.success,
            "timestamp": steps / self._fps,
            "frame_index": steps,
            "episode_index": np.full(length, number),
            "index": self._frames + steps,
            "task_index": np.full(length, task),
        }
        if self._sparse:
            found[HAS_IMAGE] = np.isin(steps, list(episode.images))
        return {name: np.asarray(rows, NUMBERS[name][0]).reshape(length, -1) for name, rows in found.items()}

    def _encode(self, episode: LoggedEpisode, number: int) -> tuple[dict[str, list[Any]], dict[str, np.ndarray]]:
        """Camera's feature → PNGs of all steps (None without image, and none for videos), and histograms."""
        steps = sorted(episode.images)
        looked_at = {steps[place] for place in sampled(len(steps))}
        pngs: dict[str, list[Any]] = {name: [None] * len(episode.actions) for name in IMAGES.values()}
        counts = {name: np.zeros((3, 256), np.int64) for name in IMAGES.values()}
        videos = {name: VideoFile(self._video(name, number), self._fps) for name in IMAGES.values() if self._videos}
        for step in steps:
            views = episode.images[step]
            for camera, name in IMAGES.items():
                self._check_shape(name, views[camera])
                if step in looked_at:
                    counts[name] += histogram(views[camera])
                if self._videos:
                    videos[name].add(views[camera])
                else:
                    pngs[name][step] = {"bytes": encode_png(views[camera]), "path": None}
        for video in videos.values():
            video.close()
        return ({} if self._videos else pngs), counts

    def _check_shape(self, name: str, image: np.ndarray) -> None:
        shape = self._shapes.setdefault(name, list(image.shape))
        if shape != list(image.shape):
            raise ValueError(f"an image of {list(image.shape)} after images of {shape}: one dataset has one size")
        if self._videos and (shape[0] % 2 or shape[1] % 2):
            raise ValueError(f"images of {shape} make no video: sides must be even")

    def _write_rows(self, columns: Mapping[str, np.ndarray], images: Mapping[str, list[Any]]) -> None:
        kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
        arrays = {name: pyarrow.array(rows, kind) for name, rows in images.items()}
        for name, rows in columns.items():
            flat = pyarrow.array(rows.ravel())
            width = rows.shape[1]
            arrays[name] = flat if width == 1 else pyarrow.FixedSizeListArray.from_arrays(flat, width)
        table = pyarrow.table(arrays)
        if self._parquet is not None and self._bytes > FILE_BYTES:
            self._parquet.close()
            self._parquet, self._bytes, self._files = None, 0, self._files + 1
        if self._parquet is None:
            path = self._root / "data" / f"{PLACE.format(**file_numbers(self._files))}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parquet = pyarrow.parquet.ParquetWriter(path, table.schema, use_dictionary=False)
        self._parquet.write_table(table, row_group_size=_GROUP_ROWS)
        self._bytes += table.nbytes

    def _entry(self, episode: LoggedEpisode, number: int, statistics: Mapping[str, Any]) -> dict[str, Any]:
        """The episode's row in `meta/episodes`."""
        length = len(episode.actions)
        row: dict[str, Any] = {
            "episode_index": number,
            "tasks": [episode.instruction],
            "length": length,
            "dataset_from_index": self._frames,
            "dataset_to_index": self._frames + length,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }
        row |= {f"data/{key}": value for key, value in file_numbers(self._files).items()}
        for name in IMAGES.values() if self._videos else ():
            row |= {f"videos/{name}/{key}": value for key, value in file_numbers(number).items()}
            row |= {f"videos/{name}/from_timestamp": 0.0, f"videos/{name}/to_timestamp": length / self._fps}
        row |= {f"{EXTRA}{key}": value for key, value in (*episode.extra.items(), ("success", episode.success))}
        return row | {f"stats/{name}/{key}": v for name, found in statistics.items() for key, v in found.items()}

    def _video(self, name: str, number: int) -> Path:
        return self._root / "videos" / name / f"{PLACE.format(**file_numbers(number))}.mp4"

    def _write_metadata(self) -> None:
        if not self._episodes:
            raise ValueError("no episodes to write")
        meta = self._root / "meta"
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(self._episodes), meta / "episodes" / f"{PLACE.format(**file_numbers(0))}.parquet"
        )
        pyarrow.parquet.write_table(task_table(list(self._tasks)), meta / "tasks.parquet")
        statistics = {name: summarize_numbers(np.concatenate(rows)) for name, rows in self._numbers.items()}
        statistics |= {name: summarize_pixels(count, self._looked_at) for name, count in self._pixels.items()}
        write_json(meta / "stats.json", statistics)
        lengths = [episode["length"] for episode in self._episodes]
        write_json(
            meta / "info.json",
            describe(self._fps, lengths, len(self._tasks), self._shapes, self._numbers, self._videos),
        )
