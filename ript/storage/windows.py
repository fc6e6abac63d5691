"""Training windows: an observation, the actions that followed, and their advantage."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ript.checks import one_of, whole_number
from ript.env_runner.episode import ChunkDecision, Episode, Stride
from ript.env_runner.pi0_io import actions_to_labels
from ript.models.pi0.norm_stats import NormStats

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
    """The episode's; unique in the run, over all ranks."""
    start: int
    """First step."""
    returns: float = math.nan
    """What the critic should have expected at the chunk that `start` lies in; NaN without critic."""
    decision: ChunkDecision | None = None
    """How the actions were decided; None where they are not the decided ones but those executed."""
    pair: np.ndarray | None = None
    """(2, H, 32) float32, the noise that was decided from and the whole chunk that it became, where the reflow term
    learns from the window; None everywhere else."""


def window_starts(episode: Episode, stride: Stride) -> list[int]:
    """0, s, 2s, … below the episode's length; None is where its chunks start, `last` the start of the last chunk."""
    if stride is None or stride == "last":
        starts = [0, *np.cumsum(episode.executed)[:-1].tolist()]
        return starts if stride is None else starts[-1:]
    return list(range(0, episode.length, stride))


@dataclass(frozen=True)
class WindowCutter:
    """How episodes are cut into windows. Every executed step is in one; steps after the end are padding.

    Args:
        window_stride: steps between windows; None is one per chunk, `last` the last chunk's only.
        short_windows: `mask` what lies after the episode's end, or `skip` such windows.
        max_windows_per_episode: keep the last ones, which are nearest to the outcome; None keeps all.
    """

    window_stride: Stride = None
    short_windows: ShortWindows = "mask"
    max_windows_per_episode: int | None = None

    def __post_init__(self) -> None:
        if self.window_stride != "last":
            whole_number("window_stride", self.window_stride, 1)
        one_of("short_windows", self.short_windows, ("mask", "skip"))
        whole_number("max_windows_per_episode", self.max_windows_per_episode, 1)

    def cut(
        self,
        episode: Episode,
        advantages: float | np.ndarray,
        norm_stats: NormStats,
        horizon: int = 50,
        delta_actions: bool = False,
        returns: float | np.ndarray = math.nan,
    ) -> Iterator[Window]:
        """The windows of one episode, of `horizon` actions each. `advantages` and `returns` are (C,), or one for all.

        A window has the advantage of the chunk that it starts in. Raises KeyError when no observation was recorded at a
        start, ValueError for a stride that leaves steps out.
        """
        if isinstance(self.window_stride, int) and self.window_stride > horizon:
            raise ValueError(
                f"window_stride={self.window_stride} is not valid: windows of {horizon} actions would leave steps out"
            )
        ends = np.cumsum(episode.executed)
        advantages, returns = np.broadcast_to(advantages, ends.shape), np.broadcast_to(returns, ends.shape)
        for start in self.starts(episode, horizon):
            if start not in episode.observations:
                seen = sorted(episode.observations)
                raise KeyError(f"no observation at step {start} (recorded at {seen}); set observe_every to the stride")
            executed = episode.actions[start : start + horizon]
            start_state = episode.states[start] if delta_actions else None
            actions, is_pad = padded_labels(executed, horizon, norm_stats, start_state)
            chunk = int(np.searchsorted(ends, start, side="right"))
            estimate = float(advantages[chunk]), float(returns[chunk])
            observation = episode.observations[start]
            yield Window(observation, actions, is_pad, estimate[0], episode.episode_id, start, estimate[1])

    def starts(self, episode: Episode, horizon: int) -> list[int]:
        """The steps at which the episode's windows start."""
        starts = window_starts(episode, self.window_stride)
        if self.short_windows == "skip":
            starts = [start for start in starts if start + horizon <= episode.length]
        return starts[-self.max_windows_per_episode :] if self.max_windows_per_episode else starts


def decided_windows(
    episode: Episode, advantages: np.ndarray, returns: float | np.ndarray = math.nan
) -> Iterator[Window]:
    """One window per chunk, of the actions as they were decided; padding is what was not executed of them.

    `advantages` and `returns` are (C,).
    """
    returns = np.broadcast_to(returns, episode.executed.shape)
    start = 0
    for chunk, executed in enumerate(episode.executed.tolist()):
        actions = episode.actions_normalized[chunk]
        yield Window(
            episode.observations[start],
            actions,
            np.arange(len(actions)) >= executed,
            float(advantages[chunk]),
            episode.episode_id,
            start,
            float(returns[chunk]),
            episode.decisions[chunk],
        )
        start += executed


def padded_labels(
    actions: np.ndarray, horizon: int, norm_stats: NormStats, start_state: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Commands (n ≤ H, 7) → normalised labels (H, 7) float32, zero where padded, and the padding (H,) bool.

    `start_state` as in `actions_to_labels`.
    """
    labels = np.zeros((horizon, actions.shape[1]), np.float32)
    labels[: len(actions)] = actions_to_labels(actions, norm_stats, start_state)
    return labels, np.arange(horizon) >= len(actions)


def stack_actions(windows: Sequence[Window]) -> tuple[np.ndarray, np.ndarray]:
    """Actions (B, H, 7) and padding (B, H) of a batch of windows."""
    return np.stack([w.actions for w in windows]), np.stack([w.action_is_pad for w in windows])
