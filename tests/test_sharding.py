"""Sharded weights on two ranks against replicated ones; each of the ways in which sharding can go wrong has its test."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
import torch
from jobs import ADVANTAGES, make_episodes
from jobs import make_optimizer as make_cfg_flow
from planar_run import ALGORITHMS, planar_config, run_on, weights_in, weights_of
from ranks import run_ranks
from torch import Tensor

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.losses.nft import NFTLoss
from ript.algos.losses.ppo import PPOLoss
from ript.algos.policies.actor import Actor, Exploration
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.distributed import Distributed
from ript.env_runner.pi0_io import collate_observations
from ript.estimate.memory import Options, estimate, find_architecture
from ript.models.pi0.heads import HeadSettings
from ript.sharding import whole
from ript.storage.batch import Batch
from ript.storage.windows import Window, decided_windows
from ript.training.learner import Learner
from ript.training.loop import InputError, run
from ript.training.weight_average import WeightAverage

CRITIC = {"heads": HeadSettings(add_value_head=True)}
NOISE = {"heads": HeadSettings(add_value_head=True, sampler="noise")}
POLICIES: dict[str, dict[str, Any]] = {
    "cfg_flow": {},
    "sft": {},
    "ppo": CRITIC,
    "noise": NOISE,
    "nft": {},
    "lora": {"lora": {"target": "both", "r": 2}},
    "lora bfloat16": {"lora": {"target": "both", "r": 2}, "dtype": "bfloat16"},
    "expert only": {"train_expert_only": True},
    "vision checkpointing": {"vision_checkpointing": True},
}
STEPS, RATE = 5, 1e-4


def make_policy(folder: Path, name: str, is_sharded: bool, distributed: Distributed) -> PI0_OFT_Policy:
    torch.manual_seed(0)
    policy = PI0_OFT_Policy(pretrained_path=str(folder), num_steps=2, **POLICIES[name])
    with torch.no_grad():
        for parameter in policy.model.parameters():  # adapters, condition and critic start where gradients are zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    if is_sharded:
        policy.shard(distributed)
    return policy


def averaging(policy: PI0_OFT_Policy, distributed: Distributed, size: int = 2) -> Learner:
    everything = [p for group in policy.trainable_params.values() for p in group]
    average = WeightAverage(everything, 0.5, warm_up=False)
    optimizers = {name: torch.optim.AdamW(group, lr=RATE) for name, group in policy.trainable_params.items()}
    return Learner(policy, optimizers, average=average, optimizer_batch_size=size, distributed=distributed)


def flow_windows(policy: PI0_OFT_Policy) -> list[Window]:
    return make_cfg_flow().make_windows(policy, make_episodes()[:4], ADVANTAGES[:4])


def decisions(policy: PI0_OFT_Policy, sampler: str) -> tuple[list[Window], Any]:
    """Of episodes that this rank plays with the policy as it is; all ranks play the same."""
    chosen = Exploration(sampler=sampler, num_denoise_steps=2).at(0, policy)  # type: ignore[arg-type]
    runner = planar.planar_runner(rollouts_per_env=3, num_parallel_envs=3, open_loop=20)
    with policy.gathered():
        episodes = [episode for _, _, episode in runner.run_policy_in_env(planar.TASKS[0], Actor(policy, chosen))]
    rng = np.random.default_rng(0)
    rows = [(e, rng.normal(size=len(e.executed)), rng.normal(size=len(e.executed))) for e in episodes]
    return [window for row in rows for window in decided_windows(*row)][:7], chosen


def loss_and_windows(name: str, policy: PI0_OFT_Policy) -> tuple[Callable[..., Any], list[Window]]:
    if name in ("ppo", "noise"):
        windows, sampler = decisions(policy, "noise" if name == "noise" else "sde")
        return partial(PPOLoss(), sampler=sampler), windows
    if name == "nft":
        return NFTLoss(), flow_windows(policy)
    return CFGFlowLoss(loss_mode="dropout", cond_dropout=0.5) if name == "sft" else CFGFlowLoss(), flow_windows(policy)


def weights(policy: PI0_OFT_Policy) -> Tensor:
    return torch.cat([whole(p.detach()).flatten() for group in policy.trainable_params.values() for p in group])


def learned(
    distributed: Distributed, folder: Path, name: str, is_sharded: bool, shares: Sequence[slice]
) -> tuple[Tensor, Tensor, list[dict[str, float]]]:
    """The trained weights and their average after some steps, and what the steps returned, over all ranks."""
    policy = make_policy(folder, name, is_sharded, distributed)
    learner = averaging(policy, distributed)
    loss, windows = loss_and_windows(name, policy)
    own = Batch.of(windows[shares[distributed.rank]])
    if isinstance(loss, NFTLoss):
        with learner.acting():
            for step in range(STEPS if len(own) else 0):
                loss.remember(policy, own, (0, 0, 0, step))
    sums = []
    for step in range(STEPS):
        seed = (0, 0, 0, step)
        sums.append(distributed.sum(learner.step([(loss, own, 1.0)], seed)))
    raw = weights(policy).clone()
    with learner.average.applied():  # type: ignore[union-attr]
        return raw, weights(policy), sums


EVEN = (slice(0, None, 2), slice(1, None, 2))
ONE_HAS_NONE = (slice(None), slice(0))


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("cfg_flow", ONE_HAS_NONE),
        ("sft", EVEN),
        ("ppo", ONE_HAS_NONE),
        ("lora", EVEN),
        ("nft", ONE_HAS_NONE),
        *[pytest.param(name, EVEN, marks=pytest.mark.slow) for name in POLICIES if name != "sft"],
    ],
)
def test_five_sharded_steps_are_those_of_replicated_weights(
    tiny_policy_folder: Path, name: str, shares: Sequence[slice]
) -> None:
    (raw, average, sums), _ = run_ranks(learned, 2, tiny_policy_folder, name, False, shares)
    for sharded_raw, sharded_average, sharded_sums in run_ranks(learned, 2, tiny_policy_folder, name, True, shares):
        torch.testing.assert_close(sharded_raw, raw, atol=1e-6, rtol=0)
        torch.testing.assert_close(sharded_average, average, atol=1e-6, rtol=0)
        for step, expected in zip(sharded_sums, sums, strict=True):
            assert step == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert (raw - average).abs().max() > 1e-4
