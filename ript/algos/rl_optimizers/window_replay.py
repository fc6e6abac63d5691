"""Windows of earlier iterations, to learn from them again."""

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from ript.models.pi0.weights_file import apply_umask
from ript.storage.windows import Window


class WeightedWindow(NamedTuple):
    """A window and w(A), the weight of its positive loss."""

    window: Window
    weight: float


class WindowReplay:
    """This rank's windows of the latest iterations, each with the weight that its own iteration gave it.

    Args:
        iterations: how many iterations are kept, the newest among them; 1 is no replay.
    """

    def __init__(self, iterations: int):
        self._kept: deque[list[WeightedWindow]] = deque(maxlen=iterations)

    def add(self, windows: Sequence[Window], weights: np.ndarray) -> list[WeightedWindow]:
        """Takes in an iteration's windows; returns all that are kept, the oldest first."""
        self._kept.append([WeightedWindow(*pair) for pair in zip(windows, weights.tolist(), strict=True)])
        return [entry for iteration in self._kept for entry in iteration]

    def save(self, path: Path) -> None:
        """Writes what the next iteration will see again: all but the oldest iteration, if they are full."""
        kept = list(self._kept)[-(self._kept.maxlen or 1) + 1 :] if self._kept.maxlen != 1 else []
        entries = [entry for iteration in kept for entry in iteration]
        arrays: dict[str, np.ndarray] = {"counts": np.array([len(iteration) for iteration in kept], np.int64)}
        prompts = [entry.window.observation["prompt"] for entry in entries]
        if entries:
            arrays |= _stacked(entries)
        save_file(arrays, path, {"prompts": json.dumps(prompts)})
        apply_umask(path)

    def load(self, path: Path) -> None:
        """Restores what `save` wrote. Raises FileNotFoundError, or ValueError for a damaged file."""
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            prompts = json.loads(file.metadata()["prompts"])
        entries = iter([_entry(arrays, prompts, row) for row in range(len(prompts))])
        self._kept.clear()
        for count in arrays["counts"]:
            self._kept.append([next(entries) for _ in range(count)])


def _stacked(entries: Sequence[WeightedWindow]) -> dict[str, np.ndarray]:
    windows = [entry.window for entry in entries]
    columns = {
        "actions": [window.actions for window in windows],
        "action_is_pad": [window.action_is_pad for window in windows],
        "state": [window.observation["state"] for window in windows],
        "advantage": [window.advantage for window in windows],
        "episode_id": [window.episode_id for window in windows],
        "start": [window.start for window in windows],
        "weight": [entry.weight for entry in entries],
    }
    for name in windows[0].observation["image"]:
        columns[f"image/{name}"] = [window.observation["image"][name] for window in windows]
    return {name: np.stack(column) for name, column in columns.items()}


def _entry(arrays: dict[str, np.ndarray], prompts: Sequence[str], row: int) -> WeightedWindow:
    images = {name.removeprefix("image/"): arrays[name][row] for name in arrays if name.startswith("image/")}
    observation = {"image": images, "state": arrays["state"][row], "prompt": prompts[row]}
    window = Window(
        observation,
        arrays["actions"][row],
        arrays["action_is_pad"][row],
        float(arrays["advantage"][row]),
        int(arrays["episode_id"][row]),
        int(arrays["start"][row]),
    )
    return WeightedWindow(window, float(arrays["weight"][row]))
