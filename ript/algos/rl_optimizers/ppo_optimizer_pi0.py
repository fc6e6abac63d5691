"""PPO and GRPO: rollouts with random denoising steps → advantages → clipped policy gradient on their log-probability.

    python train_ript_pi0.py --config-name train_rl_pi0_ppo_all_task_small_pi0                       # a CPU
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_ppo_all_task_spatial    # GPUs

Source: PPO (arXiv 1707.06347) and GRPO (arXiv 2402.03300) for flow policies as in π_RL (arXiv 2510.25889). Different
from π_RL: the random denoising step is drawn per decision, from counted seeds; every decision weighs alike, and each
iteration has contexts of its own. `train_rl_pi0_ppo_rlinf` undoes the first two.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch

from ript.algos.losses.ppo import PPOLoss
from ript.algos.losses.value import explained_variance
from ript.algos.policies.actor import Actor, Exploration
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.advantage_estimator import Estimate
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.rollout_optimizer import RolloutOptimizer
from ript.checks import one_of, whole_number
from ript.env_runner.episode import Episode
from ript.env_runner.policy import Policy
from ript.storage.batch import Batch
from ript.storage.windows import Window, decided_windows
from ript.training.learner import Learner, LossTerms, Seed, Term


class PPOOptimizerPI0(RolloutOptimizer):
    """Makes decisions that did better than expected likelier, within a clip around the policy that acted.

    Args:
        exploration: how denoising is random while collecting.
        loss: of a batch of decisions.
        critic_warmup_steps: for so many gradient steps only the critic learns.
        episode_weighted: episodes weigh alike, instead of decisions.
        ema_decay, cfg_scale, lora: only to refuse what would make the acting policy another than the trained one.
        options: see `RolloutOptimizer`.
    """

    losses: ClassVar[Mapping[str, str]] = {
        "total": "actor/total_loss",
        "policy": "actor/policy_loss",
        "entropy": "actor/entropy",
        "approx_kl": "actor/approx_kl",
        "clip_fraction": "actor/clip_fraction",
        "first_step/approx_kl": "actor/first_step_kl",
        "value": "critic/value_loss",
        "value_clipped": "critic/value_clip_ratio",
    }

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        exploration: Exploration | None = None,
        loss: PPOLoss | None = None,
        critic_warmup_steps: int = 0,
        episode_weighted: bool = False,
        ema_decay: float = 0.0,
        cfg_scale: float = 1.0,
        lora: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        super().__init__(rollout_generator, reward_function, **options)
        whole_number("critic_warmup_steps", critic_warmup_steps, 0)
        one_of("episode_weighted", episode_weighted, (True, False))
        if ema_decay:
            raise ValueError(f"ema_decay={ema_decay} is not valid here: the policy that acts must be the one trained")
        if cfg_scale != 1.0:
            raise ValueError(f"cfg_scale={cfg_scale} is not valid here: a guided action has no log-probability")
        if lora is not None and lora.get("dropout"):
            raise ValueError("lora.dropout is not valid here: the ratio to the policy that acted would be noise")
        if critic_warmup_steps and self.estimator.advantage != "gae":
            raise ValueError("critic_warmup_steps needs advantage=gae")
        self.exploration, self.loss = exploration or Exploration(), loss or PPOLoss()
        self.critic_warmup_steps, self.episode_weighted = critic_warmup_steps, episode_weighted

    def actor(self, policy: PI0_OFT_Policy, iteration: int | None = None) -> Policy:
        """The policy with the iteration's sampler."""
        return Actor(policy, self.exploration.at(self.iteration if iteration is None else iteration, policy))

    def before_update(self, learner: Learner) -> None:
        """Takes the sampler that acted."""
        self.sampler = self.exploration.at(self.iteration, learner.policy)

    def windows_and_weights(
        self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], estimate: Estimate
    ) -> tuple[list[Window], np.ndarray]:
        """One window per decision, and its weight, whose mean over all ranks is 1. A collective."""
        rows = zip(episodes, estimate.advantages, estimate.returns, estimate.is_kept, strict=True)
        kept = [list(decided_windows(e, advantages, returns)) for e, advantages, returns, is_kept in rows if is_kept]
        windows = [window for own in kept for window in own]
        if not self.episode_weighted:
            return windows, np.ones(len(windows))
        lengths = np.array([len(own) for own in kept], int)
        everyone = np.concatenate(self.distributed.gather(lengths))
        return windows, np.repeat(everyone.mean() / lengths, lengths) if len(kept) else np.zeros(0)

    def collect(self, *arguments: Any) -> tuple[list[Episode], Estimate, dict[str, float]]:
        """As in every algorithm; also says how well the critic foresaw the returns."""
        episodes, estimate, metrics = super().collect(*arguments)
        return episodes, estimate, metrics | self._critic_metrics(episodes, estimate)

    def terms(self, batch: Batch, loss: Callable[..., LossTerms]) -> list[Term]:
        """The loss with this iteration's sampler; without its policy part while the critic warms up."""
        policy_coef = 0.0 if self.warms_up else 1.0
        return [(partial(loss, sampler=self.sampler, policy_coef=policy_coef), batch, 1.0)]

    def terms_beside(self, batch: Batch, seed: Seed, encode: Callable[..., Any] | None) -> list[Term]:
        """As in every algorithm; none while the critic warms up."""
        return [] if self.warms_up else super().terms_beside(batch, seed, encode)

    @property
    def warms_up(self) -> bool:
        """The critic alone learns."""
        return self.steps < self.critic_warmup_steps

    def groups(self, learner: Learner) -> list[str]:
        """The critic alone while it warms up."""
        return ["value"] if self.warms_up else list(learner.optimizers)

    def _critic_metrics(self, episodes: Sequence[Episode], estimate: Estimate) -> dict[str, float]:
        """Means over the decisions of all ranks. A collective."""
        rows = [_rows(*row) for row in zip(episodes, estimate.returns, strict=True)]
        own = np.concatenate([np.zeros((2, 0)), *rows], axis=1)
        returns, values = np.concatenate(self.distributed.gather(own), axis=1)
        if not len(returns) or np.isnan(returns).any():
            return {}
        metrics = {"rollout/returns_mean": float(returns.mean()), "rollout/values_mean": float(values.mean())}
        if np.ptp(returns) > 0:
            found = explained_variance(torch.from_numpy(values), torch.from_numpy(returns))
            metrics["critic/explained_variance"] = found
        return metrics


def _rows(episode: Episode, returns: np.ndarray) -> np.ndarray:
    """(2, C): returns and values, NaN without critic."""
    return np.stack([returns, [math.nan if d.value is None else d.value for d in episode.decisions]])
