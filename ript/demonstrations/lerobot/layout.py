"""Where things are in a v3.0 dataset that is written here, and how `meta` describes them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow

from ript.demonstrations.lerobot.encoding import VIDEO
from ript.demonstrations.lerobot.features import EXACT_ACTION, EXACT_STATE
from ript.demonstrations.lerobot.reader import HAS_IMAGE
from ript.models.pi0.dims import ACTION_DIM, STATE_DIM

PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
FILE_BYTES = 100 << 20
"""A data file that is larger is not added to."""
_PER_CHUNK = 1000
NUMBERS = {
    "observation.state": ("float32", STATE_DIM),
    "action": ("float32", ACTION_DIM),
    EXACT_STATE: ("float64", STATE_DIM),
    EXACT_ACTION: ("float64", ACTION_DIM),
    "next.reward": ("float32", 1),
    "next.success": ("bool", 1),
    HAS_IMAGE: ("bool", 1),
    "timestamp": ("float32", 1),
    "frame_index": ("int64", 1),
    "episode_index": ("int64", 1),
    "index": ("int64", 1),
    "task_index": ("int64", 1),
}
"""Feature → dtype and width."""


def file_numbers(number: int) -> dict[str, int]:
    """Chunk and file of the file with this number."""
    return {"chunk_index": number // _PER_CHUNK, "file_index": number % _PER_CHUNK}


def describe(
    fps: int, lengths: Sequence[int], tasks: int, shapes: Mapping[str, list[int]], numbers: Iterable[str], videos: bool
) -> dict[str, Any]:
    """`meta/info.json`.

    Args:
        lengths: of the episodes.
        tasks: how many there are.
        shapes: camera's feature → shape of its images.
        numbers: the other features.
        videos: images are in videos.
    """
    features = {name: _image_feature(shape, fps, videos) for name, shape in shapes.items()}
    for name in numbers:
        dtype, width = NUMBERS[name]
        features[name] = {"dtype": dtype, "shape": [width], "names": None}
    return {
        "codebase_version": "v3.0",
        "robot_type": "panda",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": tasks,
        "chunks_size": _PER_CHUNK,
        "data_files_size_in_mb": FILE_BYTES >> 20,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": f"data/{PLACE}.parquet",
        "video_path": f"videos/{{video_key}}/{PLACE}.mp4" if videos else None,
        "features": features,
    }


def _image_feature(shape: Sequence[int], fps: int, videos: bool) -> dict[str, Any]:
    feature = {"dtype": "video" if videos else "image", "shape": shape, "names": ["height", "width", "channels"]}
    if not videos:
        return feature
    about = {"height": shape[0], "width": shape[1], "channels": 3, "fps": fps, "is_depth_map": False, **VIDEO}
    return feature | {"info": {f"video.{key}": value for key, value in about.items()} | {"has_audio": False}}


def task_table(tasks: Sequence[str]) -> pyarrow.Table:
    """The tasks as the frame of `task_index`, indexed by instruction, that pandas reads."""
    types = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in types.items()
    ]
    about: dict[str, Any] = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": columns,
        "pandas_version": "2.0.0",
    }
    table = pyarrow.table({"task_index": list(range(len(tasks))), "task": list(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})
