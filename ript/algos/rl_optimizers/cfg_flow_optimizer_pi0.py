"""CFG-Flow: rollouts → advantages → windows → weighted conditional and unconditional flow losses → step.

    python train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_small_pi0                        # a CPU
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_spatial     # GPUs

Source: CFGRL (arXiv 2505.23458) with RIPT's rollouts and leave-one-out advantages (arXiv 2505.17016). Different from
CFGRL: time is π0's (t = 1 is noise), and by default both branches are trained on each window, with the same noise.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ript.algos.advantages import PositiveWeights
from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.losses.critic import CriticLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.advantage_estimator import Estimate
from ript.algos.rl_optimizers.offline_start import OfflineStart
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.rollout_optimizer import RolloutOptimizer
from ript.env_runner.episode import Episode
from ript.storage.batch import Batch
from ript.storage.windows import Window, WindowCutter
from ript.training.learner import Learner, LossTerms, Term


class CFGFlowOptimizerPI0(RolloutOptimizer):
    """The positive branch imitates what did better than expected, the unconditional branch all that was done.

    Args:
        weighting: from advantages to the weights of the positive branch.
        loss: of a batch of windows.
        cutter: from episodes to windows.
        critic_loss: of the critic that `gae` asks; it learns where the policy has one.
        value_coef: weight of the critic's loss.
        offline: logged episodes that the first iterations learn from; None: there are none.
        options: see `RolloutOptimizer`.
    """

    losses: ClassVar[Mapping[str, str]] = {
        "total": "fm_loss",
        "positive": "fm_loss_pos",
        "unconditional": "fm_loss_uncond",
        "first_epoch/positive": "fm_loss_pos_first_epoch",
        "last_epoch/positive": "fm_loss_pos_last_epoch",
        "value": "critic/value_loss",
    }

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        weighting: PositiveWeights | None = None,
        loss: CFGFlowLoss | None = None,
        cutter: WindowCutter | None = None,
        critic_loss: CriticLoss | None = None,
        value_coef: float = 1.0,
        offline: OfflineStart | None = None,
        **options: Any,
    ):
        super().__init__(rollout_generator, reward_function, **options)
        self.weighting = weighting or PositiveWeights()
        self.loss, self.cutter = loss or CFGFlowLoss(), cutter or WindowCutter()
        self.critic_loss, self.value_coef = critic_loss or CriticLoss(), value_coef
        self.offline = offline

    def collect(
        self,
        learner: Learner,
        batch: Mapping[str, Any],
        data_iterator: Iterator[Mapping[str, Any]] | None = None,
        dataloader: Iterable[Mapping[str, Any]] | None = None,
    ) -> tuple[list[Episode], Estimate, dict[str, float]]:
        """See `RolloutOptimizer`; of the offline start's iterations, the logged episodes, and no others before them."""
        if self.offline is None or self.iteration >= self.offline.offline_steps:
            return super().collect(learner, batch, data_iterator, dataloader)
        self.rollout_generator.skip_iteration(batch, dataloader)
        self.storage.clear()
        return self.offline.collect()

    def windows_and_weights(
        self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], estimate: Estimate
    ) -> tuple[list[Window], np.ndarray]:
        """The windows of the executed actions, and w(A) of each. A collective."""
        kept = np.flatnonzero(estimate.is_kept).tolist()
        advantages = [estimate.advantages[i] for i in kept]
        windows = self.make_windows(
            policy, [episodes[i] for i in kept], advantages, [estimate.returns[i] for i in kept]
        )
        return windows, self.weights(windows, np.concatenate([np.zeros(0), *advantages]))

    def make_windows(
        self,
        policy: PI0_OFT_Policy,
        episodes: Sequence[Episode],
        advantages: Sequence[float | np.ndarray],
        returns: Sequence[float | np.ndarray] | None = None,
    ) -> list[Window]:
        """The windows of this rank's episodes, each with the advantage and the return of its chunk."""
        cut = partial(
            self.cutter.cut,
            norm_stats=policy.norm_stats,
            horizon=policy.chunk_size,
            delta_actions=policy.card.delta_actions,
        )
        rows = zip(episodes, advantages, returns or [np.nan] * len(episodes), strict=True)
        return [window for episode, advantage, target in rows for window in cut(episode, advantage, returns=target)]

    def weights(self, windows: Sequence[Window], advantages: np.ndarray) -> np.ndarray:
        """w(A) of each window; `advantages` are those of this rank's chunks or episodes. A collective."""
        everyone = np.concatenate(self.distributed.gather(advantages))
        std = float(everyone.std()) if len(everyone) else 0.0
        return self.weighting(np.array([window.advantage for window in windows]), std)

    def terms(self, batch: Batch, loss: Callable[..., LossTerms]) -> list[Term]:
        """The flow losses and, where the advantages came from a critic, its own."""
        critic = self.value_coef if self.estimator.advantage == "gae" else 0.0
        return [(loss, batch, 1.0), (self.critic_loss, batch, critic)]
