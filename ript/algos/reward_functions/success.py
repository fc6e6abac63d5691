"""Rewards of success."""

from collections.abc import Mapping
from typing import Any

from ript.env_runner.episode import Episode


class SuccessReward:
    """1 for a solved task, 0 otherwise."""

    def compute_reward(self, i: int, episode: Episode, batch: Mapping[str, Any]) -> float:
        """The reward of an episode whose context is row `i` of `batch`."""
        return float(episode.success)
