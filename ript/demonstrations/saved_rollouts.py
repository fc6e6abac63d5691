"""Saved rollouts as the writer of LeRobot datasets takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ript.demonstrations.lerobot.writer import LoggedEpisode
from ript.models.pi0.dims import ACTION_DIM, STATE_DIM
from ript.models.pi0.export import IMAGES
from ript.storage.episode_files import SavedEpisode


class _Views(Mapping[int, Mapping[str, np.ndarray]]):
    """The images of observations, read as they are asked for."""

    def __init__(self, observations: Mapping[int, Mapping[str, Any]]) -> None:
        self._observations = observations

    def __getitem__(self, step: int) -> Mapping[str, np.ndarray]:
        return self._observations[step]["image"]

    def __iter__(self) -> Iterator[int]:
        return iter(self._observations)

    def __len__(self) -> int:
        return len(self._observations)


def logged_rollout(saved: SavedEpisode) -> LoggedEpisode:
    """A rollout that was observed at every step. Raises ValueError naming file and key for another."""
    episode = saved.episode
    if (saved.norm_stats.state.width, saved.norm_stats.actions.width) != (STATE_DIM, ACTION_DIM):
        raise ValueError(f"{saved.path}: only states of {STATE_DIM} and actions of {ACTION_DIM} can be exported")
    if unseen := [camera for camera in IMAGES if camera not in saved.cameras]:
        raise ValueError(f"{saved.path}: image/{unseen[0]} is missing: only both cameras can be exported")
    missing = [step for step in range(episode.length) if step not in episode.states]
    if missing:
        raise ValueError(
            f"{saved.path}: no observation at step {missing[0]} ({len(missing)} of {episode.length} steps have none); "
            "save them with --observe-every 1 (of a run: algo.observe_every=1)"
        )
    states = np.stack([episode.states[step] for step in range(episode.length)])
    images = _Views(episode.observations)
    extra = {"task": saved.task, "scene_hash": episode.init_hash, "score": episode.score}
    return LoggedEpisode(
        episode.task_description, states, episode.actions, images, episode.rewards, episode.success, extra
    )
