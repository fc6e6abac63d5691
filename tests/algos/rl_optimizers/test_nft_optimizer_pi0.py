"""NFT's gradient steps: against the policy that acted, however windows are split."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
import torch
from jobs import ADVANTAGES, make_episodes, make_learner, summed_gradient
from ranks import run_ranks

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.advantage_estimator import AdvantageEstimator, Estimate
from ript.algos.rl_optimizers.nft_optimizer_pi0 import NFTOptimizerPI0
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.distributed import Distributed
from ript.storage.rollout_storage import RolloutStorage


def make_optimizer(distributed: Distributed | None = None, **options: Any) -> NFTOptimizerPI0:
    distributed = distributed or Distributed()
    generator = RolloutGenerator(planar.planar_runner(num_parallel_envs=4), rloo_batch_size=4, use_tqdm=False)
    storage = RolloutStorage(distributed=distributed)
    return NFTOptimizerPI0(
        generator, SuccessReward(), storage=storage, use_tqdm=False, distributed=distributed, **options
    )


def filled(policy: PI0_OFT_Policy, distributed: Distributed) -> NFTOptimizerPI0:
    """An optimizer that has this rank's share of six episodes in its storage."""
    optimizer = make_optimizer(distributed)
    own = slice(distributed.rank, None, distributed.world_size)
    episodes, advantages = make_episodes()[own], ADVANTAGES[own]
    estimate = Estimate(
        [np.full(len(e.executed), a) for e, a in zip(episodes, advantages, strict=True)],
        [np.full(len(e.executed), np.nan) for e in episodes],
        np.ones(len(episodes), bool),
    )
    optimizer.storage.add(*optimizer.windows_and_weights(policy, episodes, estimate))
    return optimizer


def gradient(distributed: Distributed, folder: Path, size: int, forget: bool = False) -> Any:
    """Gradient (flat) of an epoch after the policy moved away from the one that acted; `forget` takes the moved one as
    the one that acted."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    learner = make_learner(policy, distributed, optimizer_batch_size=size)
    optimizer = filled(policy, distributed)
    optimizer.before_update(learner)
    with torch.no_grad():
        policy.model.action_out_proj.weight.mul_(1.1)
    if forget:
        optimizer.before_update(learner)
    for batch, seed in optimizer.mini_batches(epoch=0):
        learner.accumulate(optimizer.loss, batch, 1.0, seed, defaultdict(float))
    return summed_gradient(policy, distributed)


def test_the_gradient_is_the_same_for_any_micro_batch_and_number_of_ranks(tiny_policy_folder: Path) -> None:
    whole = gradient(Distributed(), tiny_policy_folder, 100)
    assert np.abs(whole).max() > 0
    for other in (gradient(Distributed(), tiny_policy_folder, 2), *run_ranks(gradient, 2, tiny_policy_folder, 3)):
        np.testing.assert_allclose(other, whole, atol=1e-5 * np.abs(whole).max())


def test_later_steps_are_against_the_policy_that_acted_not_the_one_of_now(tiny_policy_folder: Path) -> None:
    acted, now = (gradient(Distributed(), tiny_policy_folder, 100, forget) for forget in (False, True))
    assert np.abs(acted - now).max() > 1e-3 * np.abs(acted).max()


def test_a_critic_is_refused() -> None:
    with pytest.raises(ValueError, match="advantage=gae is not valid with NFT"):
        make_optimizer(estimator=AdvantageEstimator(advantage="gae", add_value_head=True))
