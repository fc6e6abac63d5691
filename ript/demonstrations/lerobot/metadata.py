"""What the `meta` folder of a LeRobot dataset says, of format v3.0 and of v2.0 and v2.1: which episode lies where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from ript.checks import one_of
from ript.json_files import read_json, read_lines

VERSIONS = ("v3.0", "v2.1", "v2.0")
EXTRA = "ript/"
"""Prefix of what our exports say of an episode beyond the format: task, start state, group, success."""


@dataclass(frozen=True)
class VideoPart:
    """Where an episode is in a video."""

    path: Path
    start_s: float
    """The time of its first frame."""


@dataclass(frozen=True)
class EpisodeEntry:
    """Where an episode of T frames lies."""

    index: int
    length: int
    task: str
    """Its instruction."""
    file: Path
    """The parquet file of its frames."""
    row: int
    """Its first row there."""
    videos: Mapping[str, VideoPart] = field(default_factory=dict)
    """Camera's feature → video."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What our exports say beyond the format."""


@dataclass(frozen=True)
class Metadata:
    """`meta` of a dataset."""

    root: Path
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    episodes: Sequence[EpisodeEntry]

    @property
    def info(self) -> Path:
        """The file that names features and version."""
        return self.root / "meta" / "info.json"


def read_metadata(root: Path) -> Metadata:
    """Reads `meta`. Raises FileNotFoundError or ValueError naming file and key."""
    path = root / "meta" / "info.json"
    info = read_json(path, "LeRobot dataset")
    for key in ("codebase_version", "fps", "features", "data_path"):
        if key not in info:
            raise ValueError(f"{path}: key {key} is missing")
    one_of(f"{path}: codebase_version", info["codebase_version"], VERSIONS)
    features = info["features"]
    if not isinstance(features, dict) or not all(isinstance(feature, dict) for feature in features.values()):
        raise ValueError(f"{path}: features must be an object of objects")
    videos = [name for name, feature in features.items() if feature.get("dtype") == "video"]
    try:
        read = _episodes_v3 if info["codebase_version"] == "v3.0" else _episodes_v2
        episodes = read(root, info, videos)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{root / 'meta'}: an episode has no valid {error}") from error
    if not episodes:
        raise ValueError(f"{root / 'meta'}: the dataset has no episodes")
    _check_files(episodes)
    return Metadata(root, float(info["fps"]), features, episodes)


def read_table(path: Path, columns: list[str] | None = None, without: str | None = None) -> pyarrow.Table:
    """A parquet file's columns, or all but those whose names start with `without`.

    Raises FileNotFoundError or ValueError naming file and column."""
    if not path.is_file():
        raise FileNotFoundError(f"not found: {path}")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := set(columns or ()) - set(names):
                raise ValueError(f"{path}: column {', '.join(sorted(missing))} is missing")
            kept = names if without is None else [name for name in names if not name.startswith(without)]
            return file.read(kept if columns is None else columns)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable parquet file ({error})") from error


def _episodes_v3(root: Path, info: Mapping[str, Any], videos: Sequence[str]) -> list[EpisodeEntry]:
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(f"not found: {root / 'meta/episodes/chunk-000/file-000.parquet'}")
    rows: list[dict[str, Any]] = []
    for file in files:
        rows += read_table(file, without="stats/").to_pylist()
    rows.sort(key=lambda row: row["dataset_from_index"])
    entries = []
    first: dict[Path, int] = {}
    for row in rows:
        path = root / _place(info["data_path"], row, "data")
        start = int(row["dataset_from_index"])
        parts = {
            key: VideoPart(
                root / _place(info["video_path"], row, f"videos/{key}", video_key=key),
                float(row[f"videos/{key}/from_timestamp"]),
            )
            for key in videos
        }
        extra = {key.removeprefix(EXTRA): value for key, value in row.items() if key.startswith(EXTRA)}
        task = row["tasks"][0]
        offset = start - first.setdefault(path, start)
        entries.append(EpisodeEntry(row["episode_index"], int(row["length"]), task, path, offset, parts, extra))
    return entries


def _place(pattern: str, row: Mapping[str, Any], prefix: str, **own: str) -> str:
    return pattern.format(chunk_index=row[f"{prefix}/chunk_index"], file_index=row[f"{prefix}/file_index"], **own)


def _episodes_v2(root: Path, info: Mapping[str, Any], videos: Sequence[str]) -> list[EpisodeEntry]:
    path = root / "meta" / "episodes.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"not found: {path}")
    entries = []
    for row in read_lines(path):
        index = int(row["episode_index"])
        numbers = {"episode_chunk": index // int(info["chunks_size"]), "episode_index": index}
        parts = {key: VideoPart(root / info["video_path"].format(video_key=key, **numbers), 0.0) for key in videos}
        file = root / info["data_path"].format(**numbers)
        entries.append(EpisodeEntry(index, int(row["length"]), row["tasks"][0], file, 0, parts))
    return entries


def _check_files(episodes: Sequence[EpisodeEntry]) -> None:
    needed = {episode.file: f"frames of episode {episode.index}" for episode in reversed(episodes)}
    for episode in reversed(episodes):
        needed |= {part.path: f"video {key} of episode {episode.index}" for key, part in episode.videos.items()}
    for path, what in needed.items():
        if not path.is_file():
            raise FileNotFoundError(f"{what} not found: {path}")
