"""Datasets as LeRobot's documentation describes them, written without any code of ours: v3.0 and v2.1."""

import io
import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

TASKS = ("put the bowl on the plate", "open the drawer")
LENGTHS = (7, 4, 6)
TASK_OF = (0, 1, 0)
SIDE = 16
NAMES = {"image": "observation.images.image", "wrist": "observation.images.image2", "state": "observation.state"}


class Sample:
    """The content of a dataset of three episodes: arrays by episode."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.states = [rng.normal(size=(n, 8)).astype(np.float32) for n in LENGTHS]
        self.actions = [rng.uniform(-1, 1, (n, 7)).astype(np.float32) for n in LENGTHS]
        self.actions[0][0, 6] = -1
        flat = rng.integers(40, 216, (sum(LENGTHS), 2, 1, 1, 3), dtype=np.uint8)
        frames = np.broadcast_to(flat, (sum(LENGTHS), 2, SIDE, SIDE, 3)).copy()
        frames[:, :, : SIDE // 2] //= 2  # the upper half is darker
        self.images = np.split(frames, np.cumsum(LENGTHS)[:-1])


def features(image: str, wrist: str, state: str, action: str, dtype: str) -> dict[str, Any]:
    view = {"dtype": dtype, "shape": [SIDE, SIDE, 3], "names": ["height", "width", "channel"]}
    found: dict[str, Any] = {image: view, wrist: view}
    found |= {name: {"dtype": "float32", "shape": [width], "names": None} for name, width in ((state, 8), (action, 7))}
    found["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    integers = ("frame_index", "episode_index", "index", "task_index")
    return found | {name: {"dtype": "int64", "shape": [1], "names": None} for name in integers}


def png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    imageio.imwrite(content, image, extension=".png")
    return content.getvalue()


def frames(sample: Sample, episode: int, names: tuple[str, str, str, str], fps: int, images: bool) -> pa.Table:
    length, first = LENGTHS[episode], sum(LENGTHS[:episode])
    columns: dict[str, pa.Array] = {}
    for camera in range(2) if images else ():
        structs = [{"bytes": png(sample.images[episode][step, camera]), "path": "x.png"} for step in range(length)]
        columns[names[camera]] = pa.array(structs, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    columns[names[2]] = pa.array(sample.states[episode].tolist(), pa.list_(pa.float32()))
    columns[names[3]] = pa.array(sample.actions[episode].tolist(), pa.list_(pa.float32()))
    columns["timestamp"] = pa.array(np.arange(length, dtype=np.float32) / fps)
    columns["frame_index"] = pa.array(np.arange(length))
    columns["episode_index"] = pa.array(np.full(length, episode))
    columns["index"] = pa.array(np.arange(length) + first)
    columns["task_index"] = pa.array(np.full(length, TASK_OF[episode]))
    return pa.table(columns)


def write_video(path: Path, images: np.ndarray, fps: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    imageio.imwrite(path, images, fps=fps, codec="libx264", quality=10, macro_block_size=2)


def info(version: str, fps: int, names: tuple[str, str, str, str], dtype: str) -> dict[str, Any]:
    v3 = version.startswith("v3")
    place = "chunk-{chunk_index:03d}/file-{file_index:03d}" if v3 else "chunk-{episode_chunk:03d}/"
    episode = "" if v3 else "episode_{episode_index:06d}"
    return {
        "codebase_version": version,
        "robot_type": "panda",
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "fps": fps,
        "splits": {"train": f"0:{len(LENGTHS)}"},
        "data_path": f"data/{place}{episode}.parquet",
        "video_path": f"videos/{{video_key}}/{place}.mp4" if v3 else f"videos/{place}{{video_key}}/{episode}.mp4",
        "features": features(*names, dtype),
    }


def write_v3(root: Path, sample: Sample, videos: bool = False, fps: int = 10) -> Path:
    """Episodes 0 and 1 in one data file, 2 in another; all videos of a camera in one file."""
    names = (NAMES["image"], NAMES["wrist"], NAMES["state"], "action")
    tables = [frames(sample, episode, names, fps, not videos) for episode in range(3)]
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.concat_tables(tables[:2]), root / "data/chunk-000/file-000.parquet", row_group_size=5)
    pq.write_table(tables[2], root / "data/chunk-000/file-001.parquet")
    starts = np.cumsum((0, *LENGTHS))
    rows = []
    for episode, length in enumerate(LENGTHS):
        row: dict[str, Any] = {
            "episode_index": episode,
            "tasks": [TASKS[TASK_OF[episode]]],
            "length": length,
            "data/chunk_index": 0,
            "data/file_index": int(episode == 2),
            "dataset_from_index": int(starts[episode]),
            "dataset_to_index": int(starts[episode + 1]),
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
            "stats/action/mean": sample.actions[episode].mean(0).tolist(),
        }
        for name in names[:2] if videos else ():
            row |= {f"videos/{name}/chunk_index": 0, f"videos/{name}/file_index": 0}
            row |= {f"videos/{name}/from_timestamp": float(starts[episode] / fps)}
            row |= {f"videos/{name}/to_timestamp": float(starts[episode + 1] / fps)}
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    pq.write_table(pa.table({"task_index": [0, 1], "task": list(TASKS)}), root / "meta/tasks.parquet")
    for camera, name in enumerate(names[:2]) if videos else ():
        every = np.concatenate([images[:, camera] for images in sample.images])
        write_video(root / "videos" / name / "chunk-000/file-000.mp4", every, fps)
    (root / "meta/info.json").write_text(json.dumps(info("v3.0", fps, names, "video" if videos else "image")))
    return root


def write_v2(root: Path, sample: Sample, videos: bool = False, fps: int = 10, version: str = "v2.1") -> Path:
    """A parquet file, and a video per camera, for each episode; names as in openpi's conversions."""
    names = ("image", "wrist_image", "state", "actions")
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta").mkdir()
    for episode in range(3):
        table = frames(sample, episode, names, fps, not videos)
        pq.write_table(table, root / f"data/chunk-000/episode_{episode:06d}.parquet")
        for camera, name in enumerate(names[:2]) if videos else ():
            path = root / f"videos/chunk-000/{name}/episode_{episode:06d}.mp4"
            write_video(path, sample.images[episode][:, camera], fps)
    tasks = [{"task_index": number, "task": task} for number, task in enumerate(TASKS)]
    episodes = [
        {"episode_index": number, "tasks": [TASKS[TASK_OF[number]]], "length": length}
        for number, length in enumerate(LENGTHS)
    ]
    for name, rows in (("tasks", tasks), ("episodes", episodes)):
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "meta/info.json").write_text(json.dumps(info(version, fps, names, "video" if videos else "image")))
    return root
