"""What the environments of all simulators check and ask of a chunk; see `ript.env_runner.vec_env.Chunk`."""

from __future__ import annotations

import numpy as np


def checked_actions(actions: np.ndarray, width: int) -> np.ndarray:
    """The actions as `(n, width)` float64. Raises ValueError for none, another shape, or one that is not finite."""
    actions = np.array(actions, dtype=np.float64)
    if actions.ndim != 2 or actions.shape[1] != width or len(actions) == 0:
        raise ValueError(f"actions must have shape (n, {width}) with n at least 1, got {actions.shape}")
    if not np.isfinite(actions).all():
        row, column = np.argwhere(~np.isfinite(actions))[0]
        raise ValueError(f"actions[{row}, {column}] is {actions[row, column]}")
    return actions


def check_intervals(label: str, renders: bool, observe_every: int | None, frame_every: int | None) -> None:
    """Raises ValueError for an interval below 1, and for frames of an environment, called `label`, without images."""
    for name, every in (("observe_every", observe_every), ("frame_every", frame_every)):
        if every is not None and every < 1:
            raise ValueError(f"{name} must be at least 1, got {every}")
    if frame_every is not None and not renders:
        raise ValueError(f"{label} was made with render_images=False and cannot take frames")


def is_due(step: int, every: int | None) -> bool:
    """Whether something that happens every so many steps happens at this one."""
    return every is not None and step % every == 0
