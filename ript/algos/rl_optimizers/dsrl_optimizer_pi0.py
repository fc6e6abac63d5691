"""DSRL: a small actor learns which noise a frozen policy should denoise; PPO on the log-probability of that noise.

    python train_ript_pi0.py --config-name train_rl_pi0_dsrl_all_task_small_pi0                          # a CPU
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_dsrl_checkpoint …           # GPUs

Source: DSRL (arXiv 2506.15799), which trains such an actor by SAC; here it is PPO, as for the other algorithms. Also
different: the actor is a Gaussian without bounds, and reads what the policy's language model made of the images.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from ript.algos.losses.latent_policy import LatentPolicyLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.ppo_optimizer_pi0 import PPOOptimizerPI0
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.rollout_optimizer import RolloutOptimizer
from ript.env_runner.policy import Policy
from ript.storage.batch import Batch
from ript.training.learner import LossTerms, Term


class DSRLOptimizerPI0(PPOOptimizerPI0):
    """PPO whose decision is the initial noise: denoising is Euler steps, and part of the environment.

    Args:
        loss: of a batch of decisions.
        sampler: only to refuse another than `latent`.
        freeze_policy: the network stays as it is, bit for bit; otherwise reflow or co-training train it.
        options: see `PPOOptimizerPI0`.
    """

    loss: LatentPolicyLoss

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        loss: LatentPolicyLoss | None = None,
        sampler: str = "latent",
        freeze_policy: bool = True,
        **options: Any,
    ):
        super().__init__(rollout_generator, reward_function, **options)
        if sampler != "latent":
            raise ValueError(f"sampler={sampler!r} is not valid with DSRL, which needs sampler=latent")
        self.loss = loss or LatentPolicyLoss()
        if not freeze_policy and not self.beside.losses:
            raise ValueError("freeze_policy=false needs rfc_enabled or enable_sft_co_train: nothing else trains it")

    def actor(self, policy: PI0_OFT_Policy, iteration: int | None = None) -> Policy:
        """The policy itself, which has the latent actor."""
        return RolloutOptimizer.actor(self, policy, iteration)

    def terms(self, batch: Batch, loss: Callable[..., LossTerms]) -> list[Term]:
        """The loss of the decided noise; without its policy part while the critic warms up."""
        return [(partial(loss, policy_coef=0.0 if self.warms_up else 1.0), batch, 1.0)]
