"""Training windows: an observation, the actions that followed, and the episode's advantage."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ript.data.norm_stats import NormStats
from ript.env_runner.episode import Episode
from ript.env_runner.pi0_runner_utils import actions_to_labels

Stride = int | Literal["last"]
ShortWindows = Literal["mask", "skip"]


@dataclass(frozen=True)
class Window:
    """One training sample."""

    observation: dict[str, Any]
    """π0 observation at `start`."""
    actions: np.ndarray
    """(H, 7) float32, normalised; zero where padded."""
    action_is_pad: np.ndarray
    """(H,) bool, True after the end of the episode."""
    advantage: float
    episode_id: int
    """Unique in the iteration, over all ranks."""
    start: int
    """First step."""


def window_starts(episode: Episode, stride: Stride) -> list[int]:
    """0, s, 2s, … below the episode's length; `last` is the start of the last chunk."""
    if stride == "last":
        return [episode.length - int(episode.executed[-1])]
    return list(range(0, episode.length, stride))


def cut_windows(
    episode: Episode,
    advantage: float,
    episode_id: int,
    norm_stats: NormStats,
    *,
    horizon: int = 50,
    stride: Stride = 50,
    short_windows: ShortWindows = "mask",
    max_windows: int | None = None,
    delta_actions: bool = False,
) -> Iterator[Window]:
    """The windows of one episode. Every executed step is in one; steps after the end are padding.

    `short_windows="skip"` leaves out windows that reach past the end; `max_windows` keeps the last ones, which are
    nearest to the outcome. Raises KeyError when no observation was recorded at a start.
    """
    starts = window_starts(episode, stride)
    if short_windows == "skip":
        starts = [start for start in starts if start + horizon <= episode.length]
    for start in starts[-max_windows:] if max_windows else starts:
        if start not in episode.observations:
            seen = sorted(episode.observations)
            raise KeyError(f"no observation at step {start} (recorded at {seen}); set observe_every to the stride")
        executed = episode.actions[start : start + horizon]
        labels = actions_to_labels(executed, norm_stats, episode.states[start] if delta_actions else None)
        actions = np.zeros((horizon, labels.shape[1]), np.float32)
        actions[: len(labels)] = labels
        is_pad = np.arange(horizon) >= len(labels)
        yield Window(episode.observations[start], actions, is_pad, advantage, episode_id, start)


def stack_actions(windows: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Actions (B, H, 7) and padding (B, H) of a batch of windows."""
    return np.stack([w.actions for w in windows]), np.stack([w.action_is_pad for w in windows])
