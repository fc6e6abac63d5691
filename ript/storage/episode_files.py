"""Whole episodes on disk, to learn from later: a safetensors file each, of arrays and plain values only.

    actions             (T, A) float64    commands that the simulator executed
    rewards             (T,) float64      the simulator's
    executed            (C,) int64        steps of each chunk
    actions_normalized  (C, H, A) float32 the chunks as the policy gave them
    steps               (N,) int64        ascending: the steps that were observed
    state, raw_state    (N, S) float32, float64    normalised as the policy saw it, and before
    image/<camera>      (N, H, W, 3) uint8         upright, by π0's names

The metadata's key `episode` is JSON: suite, task, instruction, scene, outcome, and the statistics that normalised it.
How chunks were decided (noise, log-probabilities, values) is not kept.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ript.checks import one_of
from ript.env_runner.episode import Episode
from ript.json_files import unfinished
from ript.models.pi0.norm_stats import MODES, Normalizer, NormStats

EPISODE_FOLDER = "episodes"
"""The folder of saved episodes within the folder of an evaluation or a run; a folder per task in it."""
VERSION = 1
_ENDING, _IMAGE = ".safetensors", "image/"
_ARRAYS = {
    "actions": ("float64", 2),
    "rewards": ("float64", 1),
    "executed": ("int64", 1),
    "actions_normalized": ("float32", 3),
    "steps": ("int64", 1),
    "state": ("float32", 2),
    "raw_state": ("float64", 2),
}
"""Array → dtype and number of dimensions."""
_ABOUT = {"task_id": int, "task_description": str, "init_hash": str, "success": bool, "score": float, "episode_id": int}
"""Fields of an episode that are plain values."""
_UNREADABLE = (SafetensorError, LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""What is raised where a file's structures are damaged."""


class _Problem(ValueError):
    """What is wrong with a file, by its key."""

    def __init__(self, path: Path, key: str, what: str) -> None:
        super().__init__(f"{path}: {key} {what}")


@dataclass(frozen=True)
class SavedEpisode:
    """An episode read from a file. Its images are read as they are asked for."""

    path: Path
    suite: str
    task: str
    norm_stats: NormStats
    """Of the policy that played it."""
    cameras: list[str]
    """π0's names of those that it was seen through."""
    episode: Episode


class _Observations(Mapping[int, dict[str, Any]]):
    """Step → π0 observation, of which the images are read from the file each time."""

    def __init__(self, path: Path, cameras: list[str], steps: np.ndarray, state: np.ndarray, prompt: str) -> None:
        self._path, self._cameras, self._state, self._prompt = path, cameras, state, prompt
        self._rows = {step: row for row, step in enumerate(steps.tolist())}

    def __getitem__(self, step: int) -> dict[str, Any]:
        row = self._rows[step]
        with safe_open(self._path, framework="numpy") as file:
            images = {camera: file.get_slice(_IMAGE + camera)[row : row + 1][0] for camera in self._cameras}
        return {"image": images, "state": self._state[row], "prompt": self._prompt}

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def write_episode(path: Path, episode: Episode, suite: str, task: str, norm_stats: NormStats) -> None:
    """Writes an episode that a policy with these statistics played. The file appears whole or not at all.

    Raises OSError naming the file.
    """
    steps = sorted(episode.observations)
    seen = [episode.observations[step] for step in steps]
    arrays = {
        "actions": episode.actions,
        "rewards": episode.rewards,
        "executed": episode.executed,
        "actions_normalized": episode.actions_normalized,
        "steps": np.array(steps),
        "state": np.stack([observation["state"] for observation in seen]),
        "raw_state": np.stack([episode.states[step] for step in steps]),
    }
    arrays = {name: np.ascontiguousarray(array, _ARRAYS[name][0]) for name, array in arrays.items()}
    arrays |= {_IMAGE + name: np.stack([view["image"][name] for view in seen]) for name in seen[0]["image"]}
    about = {"version": VERSION, "suite": suite, "task": task, "norm_stats": _stats_to_json(norm_stats)}
    about |= {name: getattr(episode, name) for name in _ABOUT}
    about |= {"success": bool(episode.success), "score": float(episode.score)}
    content = save(arrays, {"episode": json.dumps(about)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary:
        temporary.write_bytes(content)


def read_episode(path: Path) -> SavedEpisode:
    """An episode that `write_episode` wrote. Raises ValueError naming file and key for one that is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if missing := [name for name in _ARRAYS if name not in names]:
                raise _Problem(path, missing[0], "is missing: it is no saved episode")
            about = json.loads((file.metadata() or {})["episode"])
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            slices = {name: file.get_slice(name) for name in names if name.startswith(_IMAGE)}
            shapes = {name: (*view.get_shape(), view.get_dtype()) for name, view in slices.items()}
        _check_arrays(path, arrays, shapes)
        _check_about(path, about)
        return _saved(path, about, arrays, sorted(name.removeprefix(_IMAGE) for name in shapes))
    except _Problem:
        raise
    except _UNREADABLE as error:
        raise ValueError(f"{path}: damaged episode ({error})") from error


def _saved(path: Path, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray], cameras: list[str]) -> SavedEpisode:
    steps, norm_stats = arrays["steps"], _stats_from_json(about["norm_stats"])
    for name, normalizer in (("raw_state", norm_stats.state), ("actions", norm_stats.actions)):
        if arrays[name].shape[1] != normalizer.width:
            raise _Problem(path, name, f"has {arrays[name].shape[1]} numbers a step, its statistics {normalizer.width}")
    episode = Episode(
        actions=arrays["actions"],
        actions_normalized=arrays["actions_normalized"],
        executed=arrays["executed"],
        observations=_Observations(path, cameras, steps, arrays["state"], about["task_description"]),
        states=dict(zip(steps.tolist(), arrays["raw_state"], strict=True)),
        rewards=arrays["rewards"],
        **{name: about[name] for name in _ABOUT},
    )
    return SavedEpisode(path, about["suite"], about["task"], norm_stats, cameras, episode)


def find_episodes(paths: str | Sequence[str]) -> list[Path]:
    """Files of saved episodes: those that are named, and those in folders, be they of an evaluation or of a run.

    Raises FileNotFoundError for a path that has none.
    """
    found: list[Path] = []
    for path in [paths] if isinstance(paths, str) else paths:
        folder = Path(path).expanduser()
        inside = folder / EPISODE_FOLDER if (folder / EPISODE_FOLDER).is_dir() else folder
        files = [folder] if folder.is_file() else sorted(inside.rglob(f"*{_ENDING}"))
        if not files:
            raise FileNotFoundError(f"no saved episodes (*{_ENDING}) at {path}")
        found += files
    return list(dict.fromkeys(found))


def _check_arrays(path: Path, arrays: Mapping[str, np.ndarray], images: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises ValueError unless the arrays fit together."""
    for name, (dtype, dimensions) in _ARRAYS.items():
        array = arrays[name]
        if array.dtype != dtype or array.ndim != dimensions or not len(array):
            raise _Problem(path, name, f"has shape {array.shape} {array.dtype}, expected {dimensions} axes of {dtype}")
        if not np.isfinite(array).all():
            raise _Problem(path, name, "holds NaN or Inf")
    length, seen = len(arrays["actions"]), len(arrays["steps"])
    rows = {"rewards": length, "actions_normalized": len(arrays["executed"]), "state": seen, "raw_state": seen}
    for name, expected in rows.items():
        if len(arrays[name]) != expected:
            raise _Problem(path, name, f"has {len(arrays[name])} rows, expected {expected}")
    if arrays["executed"].sum() != length or (arrays["executed"] < 1).any():
        raise _Problem(path, "executed", f"adds up to {arrays['executed'].sum()}, actions has {length} rows")
    steps = arrays["steps"]
    if (np.diff(steps) <= 0).any() or not 0 <= steps[0] <= steps[-1] < length:
        raise _Problem(path, "steps", f"is not ascending within 0..{length - 1}")
    for name, shape in images.items():
        if len(shape) != 5 or shape[0] != seen or shape[3:] != (3, "U8"):
            raise _Problem(path, name, f"is {shape[:-1]} {shape[-1]}, expected ({seen}, H, W, 3) U8")


def _check_about(path: Path, about: Any) -> None:
    """Raises ValueError unless the metadata are complete."""
    if not isinstance(about, dict) or about.get("version") != VERSION:
        raise _Problem(path, "metadata[episode]", f"is not of version {VERSION}")
    for name, kind in {"suite": str, "task": str, "norm_stats": dict, **_ABOUT}.items():
        if not isinstance(about.get(name), kind):
            raise _Problem(path, f"metadata[episode][{name}]", f"is not of type {kind.__name__}")


def _stats_to_json(norm_stats: NormStats) -> dict[str, Any]:
    groups = {"state": norm_stats.state, "actions": norm_stats.actions}
    return {
        group: {"mode": own.mode, "offset": own.offset.tolist(), "scale": own.scale.tolist()}
        for group, own in groups.items()
    }


def _stats_from_json(content: Mapping[str, Any]) -> NormStats:
    return NormStats(**{group: _normalizer(content[group]) for group in ("state", "actions")})


def _normalizer(content: Mapping[str, Any]) -> Normalizer:
    """Raises ValueError for what is no normaliser."""
    one_of("mode", content["mode"], MODES)
    offset, scale = (np.array(content[key], np.float64) for key in ("offset", "scale"))
    if offset.ndim != 1 or offset.shape != scale.shape:
        raise ValueError(f"norm_stats: offset {offset.shape}, scale {scale.shape}")
    return Normalizer(offset, scale, content["mode"])
