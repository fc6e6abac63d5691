"""NFT: rollouts → advantages → windows → a flow loss towards what did well and away from what did badly.

    python train_ript_pi0.py --config-name train_rl_pi0_nft_all_task_small_pi0    # the small π0, a CPU

Source: DiffusionNFT (arXiv 2509.16117). Different from it: r is 0.5 + the leave-one-out advantage, clipped to [0, 1],
and the policy that acts is the moving average per gradient step (`ema_decay`).
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ript.algos.losses.nft import NFTLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.advantage_estimator import Estimate
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.rollout_optimizer import RolloutOptimizer
from ript.env_runner.episode import Episode
from ript.storage.windows import Window, WindowCutter
from ript.training.learner import Learner


class NFTOptimizerPI0(RolloutOptimizer):
    """Needs no likelihood of the rollouts, and learns from failures too.

    Args:
        loss: of a batch of windows.
        cutter: from episodes to windows.
        options: see `RolloutOptimizer`.
    """

    losses: ClassVar[Mapping[str, str]] = {
        "total": "actor/total_loss",
        "positive": "actor/positive_loss",
        "negative": "actor/negative_loss",
    }

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        loss: NFTLoss | None = None,
        cutter: WindowCutter | None = None,
        **options: Any,
    ):
        super().__init__(rollout_generator, reward_function, **options)
        if self.estimator.advantage == "gae":
            raise ValueError("advantage=gae is not valid with NFT, which teaches no critic. Valid: rloo, grpo, none")
        self.loss, self.cutter = loss or NFTLoss(), cutter or WindowCutter()

    def windows_and_weights(
        self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], estimate: Estimate
    ) -> tuple[list[Window], np.ndarray]:
        """The windows of the executed actions, which all weigh alike."""
        cut = partial(
            self.cutter.cut,
            norm_stats=policy.norm_stats,
            horizon=policy.chunk_size,
            delta_actions=policy.card.delta_actions,
        )
        rows = zip(episodes, estimate.advantages, estimate.is_kept, strict=True)
        windows = [window for episode, own, is_kept in rows if is_kept for window in cut(episode, own)]
        return windows, np.ones(len(windows))

    def before_update(self, learner: Learner) -> None:
        """Keeps the velocities of the policy that acted, at the points where the iteration's steps will ask."""
        self.loss.forget()
        size = learner.optimizer_batch_size
        with learner.acting():
            for epoch in range(self.num_epochs):
                for batch, seed in self.mini_batches(epoch):
                    for first in range(0, len(batch), size):
                        self.loss.remember(learner.policy, batch[first : first + size], seed)
