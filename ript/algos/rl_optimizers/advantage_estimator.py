"""From episodes to the advantage of each of their chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ript.algos.advantages import gae_advantages, grpo_advantages, rloo_advantages
from ript.checks import in_range, one_of
from ript.distributed import Distributed
from ript.env_runner.episode import Episode

Advantage = Literal["rloo", "grpo", "gae", "none"]


class Estimate(NamedTuple):
    """What each chunk of N episodes was worth."""

    advantages: list[np.ndarray]
    """Per episode (C_i,) float64."""
    returns: list[np.ndarray]
    """Per episode (C_i,) float64, what the critic should have expected; NaN without critic."""
    is_kept: np.ndarray
    """(N,) bool: False for episodes that are left out of the loss and of its denominator."""


@dataclass(frozen=True)
class AdvantageEstimator:
    """`rloo` and `grpo` compare the rollouts of a group, `gae` compares each chunk with a critic, `none` is the score.

    Args:
        advantage: which.
        rloo_batch_size: K, rollouts per group.
        add_value_head: the policy has a critic.
        gamma, gae_lambda: of `gae`, per chunk.
        bootstrap: of `gae`: `none`: running out of time is an end, as it is for who counts successes within a limit;
            `truncation`: the episode would have gone on, with the value of what it ended at. Success is always an end.
        reward_range: of `grpo`: groups of another mean score are left out.
        normalize_advantages: to mean 0 and standard deviation 1 over the chunks of all ranks.
    """

    advantage: Advantage = "rloo"
    rloo_batch_size: int = 8
    add_value_head: bool = False
    gamma: float = 0.99
    gae_lambda: float = 0.95
    bootstrap: Literal["truncation", "none"] = "none"
    reward_range: Sequence[float] = (0.1, 0.9)
    normalize_advantages: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        one_of("advantage", self.advantage, ("rloo", "grpo", "gae", "none"))
        one_of("bootstrap", self.bootstrap, ("truncation", "none"))
        in_range("gamma", self.gamma, 0, 1)
        in_range("gae_lambda", self.gae_lambda, 0, 1)
        if self.advantage == "gae" and not self.add_value_head:
            raise ValueError("advantage=gae needs add_value_head=true")
        if self.advantage in ("rloo", "grpo") and self.rloo_batch_size < 2:
            raise ValueError(f"rloo_batch_size=1 is not valid with advantage={self.advantage}: nothing to compare with")
        if len(self.reward_range) != 2 or self.reward_range[0] > self.reward_range[1]:
            raise ValueError(f"reward_range={list(self.reward_range)} is not valid: must be [lowest, highest]")

    @property
    def needs_last_values(self) -> bool:
        """Episodes that ran out of time need the value of what they ended at."""
        return self.advantage == "gae" and self.bootstrap == "truncation"

    def __call__(self, episodes: Sequence[Episode], last_values: np.ndarray, distributed: Distributed) -> Estimate:
        """Estimates N episodes, in whole groups. `last_values` (N,) are of what they ended at. A collective."""
        return self._normalized(self._estimate(episodes, last_values), distributed)

    def of_advantages(self, episodes: Sequence[Episode], advantages: np.ndarray, distributed: Distributed) -> Estimate:
        """All chunks of each of N episodes have its advantage (N,), normalised where asked. A collective."""
        return self._normalized(_alike(episodes, advantages, np.ones(len(episodes), bool)), distributed)

    def _normalized(self, estimate: Estimate, distributed: Distributed) -> Estimate:
        if not self.normalize_advantages:
            return estimate
        kept = [own for own, is_kept in zip(estimate.advantages, estimate.is_kept, strict=True) if is_kept]
        everyone = np.concatenate([np.zeros(0), *distributed.gather(np.concatenate([np.zeros(0), *kept]))])
        mean, std = (everyone.mean(), everyone.std()) if len(everyone) else (0.0, 1.0)
        return estimate._replace(advantages=[(own - mean) / (std + 1e-5) for own in estimate.advantages])

    def _estimate(self, episodes: Sequence[Episode], last_values: np.ndarray) -> Estimate:
        scores, kept = np.array([e.score for e in episodes], np.float64), np.ones(len(episodes), bool)
        if self.advantage == "gae":
            truncated = np.array([not e.success for e in episodes], bool)
            found = gae_advantages(
                [chunk_rewards(e) for e in episodes],
                [e.values for e in episodes],
                last_values,
                truncated,
                gamma=self.gamma,
                gae_lambda=self.gae_lambda,
                bootstrap=self.bootstrap,
            )
            return Estimate(found.advantages, found.returns, kept)
        if self.advantage == "grpo":
            scores, kept = grpo_advantages(scores, self.rloo_batch_size, (self.reward_range[0], self.reward_range[1]))
        elif self.advantage == "rloo":
            scores = rloo_advantages(scores, self.rloo_batch_size)
        return _alike(episodes, scores, kept)


def _alike(episodes: Sequence[Episode], advantages: np.ndarray, kept: np.ndarray) -> Estimate:
    """All chunks of an episode have its advantage; there are no returns."""
    shapes = [e.executed.shape for e in episodes]
    values = [np.full(shape, advantage) for shape, advantage in zip(shapes, advantages, strict=True)]
    return Estimate(values, [np.full(shape, np.nan) for shape in shapes], kept)


def chunk_rewards(episode: Episode) -> np.ndarray:
    """(C,) the episode's score, given for its last chunk."""
    rewards = np.zeros(len(episode.executed))
    rewards[-1] = episode.score
    return rewards
