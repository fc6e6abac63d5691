"""Rewards of success."""

from collections.abc import Mapping
from typing import Any

from ript.env_runner.episode import Episode


class SuccessReward:
    """1 for a solved task, 0 otherwise."""

    def compute_reward(self, i: int, episode: Episode, batch: Mapping[str, Any]) -> float:
        """The reward of episode `i`; `batch` is the batch of contexts it came from."""
        return float(episode.success)
