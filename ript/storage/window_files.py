"""Windows in a safetensors file."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ript.models.pi0.weights_file import apply_umask
from ript.storage.windows import Window


def write_windows(path: Path, windows: Sequence[Window], weights: np.ndarray, counts: Sequence[int]) -> None:
    """Writes windows with their weights (N,), and how many of them belong to each iteration.

    How a window's actions were decided is left out.
    """
    arrays: dict[str, np.ndarray] = {"counts": np.array(counts, np.int64)}
    if windows:
        arrays |= _columns(windows) | {"weight": weights}
    save_file(arrays, path, {"prompts": json.dumps([window.observation["prompt"] for window in windows])})
    apply_umask(path)


def read_windows(path: Path) -> tuple[list[Window], np.ndarray, list[int]]:
    """Windows, weights and counts that `write_windows` wrote.

    Raises FileNotFoundError, or ValueError for a damaged file; both name it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"replayed windows not found: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            prompts = json.loads(file.metadata()["prompts"])
        windows = [_window(arrays, prompts, row) for row in range(len(prompts))]
        return windows, arrays.get("weight", np.zeros(0)), arrays["counts"].tolist()
    except (SafetensorError, json.JSONDecodeError, KeyError, IndexError, TypeError) as error:
        raise ValueError(f"{path}: damaged file of replayed windows ({error})") from error


def _columns(windows: Sequence[Window]) -> dict[str, np.ndarray]:
    columns = {
        "actions": [window.actions for window in windows],
        "action_is_pad": [window.action_is_pad for window in windows],
        "state": [window.observation["state"] for window in windows],
        "advantage": [window.advantage for window in windows],
        "episode_id": [window.episode_id for window in windows],
        "start": [window.start for window in windows],
        "returns": [window.returns for window in windows],
    }
    arrays = {name: np.stack(column) for name, column in columns.items()}
    arrays |= {f"pair/{row}": window.pair for row, window in enumerate(windows) if window.pair is not None}
    for name in windows[0].observation["image"]:
        images = [window.observation["image"][name] for window in windows]
        if len({image.shape for image in images}) == 1:
            arrays[f"image/{name}"] = np.stack(images)
        else:
            arrays |= {f"image/{name}/{row}": image for row, image in enumerate(images)}
    return arrays


def _window(arrays: dict[str, np.ndarray], prompts: Sequence[str], row: int) -> Window:
    images = {}
    for name in arrays:
        if name.startswith("image/"):
            camera, _, own_row = name.removeprefix("image/").partition("/")
            if not own_row:
                images[camera] = arrays[name][row]
            elif int(own_row) == row:
                images[camera] = arrays[name]
    return Window(
        {"image": images, "state": arrays["state"][row], "prompt": prompts[row]},
        arrays["actions"][row],
        arrays["action_is_pad"][row],
        float(arrays["advantage"][row]),
        int(arrays["episode_id"][row]),
        int(arrays["start"][row]),
        float(arrays["returns"][row]) if "returns" in arrays else math.nan,  # files written before there were critics
        pair=arrays.get(f"pair/{row}"),
    )
