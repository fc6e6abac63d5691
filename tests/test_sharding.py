"""Sharded weights on two ranks against replicated ones; each way in which sharding can go wrong has its test."""

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
        pytest.param("nft", ONE_HAS_NONE, marks=pytest.mark.slow),
        pytest.param("expert only", ONE_HAS_NONE, marks=pytest.mark.slow),
        *[pytest.param(name, EVEN, marks=pytest.mark.slow) for name in POLICIES if name not in ("sft", "lora")],
    ],
)
def test_five_sharded_steps_are_those_of_replicated_weights(
    tiny_policy_folder: Path, name: str, shares: Sequence[slice]
) -> None:
    atol = 2e-5 if "bfloat16" in name else 1e-6  # bfloat16 rounds what differs in the last bit of float32
    (raw, average, sums), _ = run_ranks(learned, 2, tiny_policy_folder, name, False, shares)
    for sharded_raw, sharded_average, sharded_sums in run_ranks(learned, 2, tiny_policy_folder, name, True, shares):
        torch.testing.assert_close(sharded_raw, raw, atol=atol, rtol=0)
        torch.testing.assert_close(sharded_average, average, atol=atol, rtol=0)
        for step, expected in zip(sharded_sums, sums, strict=True):
            assert step == pytest.approx(expected, rel=100 * atol, abs=atol)
    assert (raw - average).abs().max() > 5e-5


def acted(distributed: Distributed, folder: Path, is_sharded: bool, saved: Path) -> list[Tensor]:
    """Actions of the average, and of the raw weights, on rank 0 alone; the average is saved."""
    policy = make_policy(folder, "cfg_flow", is_sharded, distributed)
    learner = averaging(policy, distributed)
    batch = Batch.of(flow_windows(policy)[:3])
    seen = collate_observations([window.observation for window in batch.windows])
    noise, actions = torch.randn(3, 50, 32, generator=torch.Generator().manual_seed(0)), []
    for step in range(STEPS):
        learner.step([(CFGFlowLoss(), batch, 1.0)], (0, 0, 0, step))
        if step == 0:  # the weights are gathered once before the average moves on
            with learner.acting():
                policy.select_action(seen, noise=noise)
    for acting in (learner.acting, policy.gathered):
        with acting():
            if distributed.is_main:  # the other rank plays nothing: a collective in here would not end
                actions.append(policy.select_action(seen, noise=noise))
    with learner.acting():
        if distributed.is_main:
            policy.save(saved)
    return actions


def test_after_the_average_is_swapped_in_its_own_weights_act_and_are_saved(
    tiny_policy_folder: Path, tmp_path: Path
) -> None:
    (average, raw), _ = run_ranks(acted, 2, tiny_policy_folder, False, tmp_path / "replicate")
    sharded, _ = run_ranks(acted, 2, tiny_policy_folder, True, tmp_path / "fsdp2")
    for own, expected in zip(sharded, (average, raw), strict=True):
        torch.testing.assert_close(own, expected, atol=1e-5, rtol=0)
    assert (average - raw).abs().max() > 1e-4
    first, second = weights_in(tmp_path / "replicate"), weights_in(tmp_path / "fsdp2")
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-6, rtol=0)


def bytes_held(distributed: Distributed, folder: Path, is_sharded: bool) -> tuple[int, str]:
    """Of weights, gradients, moments and average on this rank after a step; and what saving without all ranks says."""
    policy = make_policy(folder, "ppo", is_sharded, distributed)
    learner = averaging(policy, distributed)
    learner.step([(CFGFlowLoss(), Batch.of(flow_windows(policy)[:2]), 1.0)], (0, 0, 0, 0))
    weights = [*policy.model.parameters(), *policy.heads.parameters()]
    moments = [value for o in learner.optimizers.values() for own in o.state.values() for value in own.values()]
    assert learner.average is not None
    held = [*weights, *[p.grad for p in weights if p.grad is not None], *moments, *learner.average.average]
    local = [getattr(tensor, "_local_tensor", tensor) for tensor in held]
    refusal = ""
    if is_sharded:
        with pytest.raises(RuntimeError) as caught:
            policy.save(folder / "never")
        refusal = str(caught.value)
    return sum(tensor.nbytes for tensor in local), refusal


def test_a_rank_holds_about_half_and_says_how_to_save(tiny_policy_folder: Path) -> None:
    ((everything, _), _) = run_ranks(bytes_held, 2, tiny_policy_folder, False)
    sharded = run_ranks(bytes_held, 2, tiny_policy_folder, True)
    assert sum(held for held, _ in sharded) == pytest.approx(everything, rel=0.01)
    assert max(held for held, _ in sharded) < 0.55 * everything
    assert all("`gathered()`" in refusal for _, refusal in sharded)
    assert not (tiny_policy_folder / "never").exists()


FSDP2, REPLICATE = "cluster.sharding=fsdp2", "cluster.sharding=replicate"


def killed_and_resumed(distributed: Distributed, folder: Path, policy: Path, overrides: tuple[str, ...]) -> bool:
    """Whether a run that is killed after iteration 3, one after its checkpoint, ends as an uninterrupted one."""
    run_on(distributed, planar_config(folder / "whole", policy, *overrides))
    with pytest.raises(RuntimeError, match="killed"):
        run_on(distributed, planar_config(folder / "parts", policy, *overrides), dies_after=3)
    run_on(distributed, planar_config(folder / "parts", policy, *overrides, "training.resume=true"))
    one, other = weights_of(folder / "whole"), weights_of(folder / "parts")
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "algorithm", [pytest.param(name, marks=() if name == "sft" else pytest.mark.slow) for name in ALGORITHMS]
)
def test_a_killed_sharded_run_goes_on_without_a_trace(tmp_path: Path, tiny_policy_folder: Path, algorithm: str) -> None:
    overrides = (*ALGORITHMS[algorithm], FSDP2)
    assert run_ranks(killed_and_resumed, 2, tmp_path, tiny_policy_folder, overrides, timeout_s=600) == [True, True]


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_sharded_run_of_every_algorithm_is_the_replicated_one(
    tmp_path: Path, tiny_policy_folder: Path, algorithm: str
) -> None:
    for name, sharding in (("replicate", REPLICATE), ("fsdp2", FSDP2)):
        cfg = planar_config(tmp_path / name, tiny_policy_folder, *ALGORITHMS[algorithm], sharding, "training.n_steps=3")
        run_ranks(run_on, 2, cfg, timeout_s=600)
    one, other = weights_of(tmp_path / "replicate"), weights_of(tmp_path / "fsdp2")
    assert one.keys() == other.keys()
    for name, tensor in one.items():  # dozens of steps at the rates of the recipes
        torch.testing.assert_close(other[name], tensor, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [((2, FSDP2), (1, FSDP2)), ((1, FSDP2), (2, FSDP2)), ((2, REPLICATE), (2, FSDP2)), ((2, FSDP2), (2, REPLICATE))],
)
def test_a_run_goes_on_with_another_sharding_or_number_of_ranks(
    tmp_path: Path, tiny_policy_folder: Path, before: tuple[int, str], after: tuple[int, str]
) -> None:
    def go(name: str, ranks: int, *overrides: str) -> dict[str, Tensor]:
        cfg = planar_config(tmp_path / name, tiny_policy_folder, *ALGORITHMS["sft"], "algo.ema_decay=0.5", *overrides)
        if ranks > 1:
            run_ranks(run_on, ranks, cfg, timeout_s=600)
        else:
            run_on(Distributed(), cfg)
        return weights_of(tmp_path / name)

    parts = ((*before, "training.cut=2"), (*after, "training.resume=true"))
    for ranks, sharding, other in parts:
        found = go("run", ranks, sharding, other)
    for ranks, _, other in parts:
        expected = go("replicated", ranks, REPLICATE, other)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ((FSDP2, "algo.compile=true"), "cluster.sharding=fsdp2 is not valid with algo.compile=true. Valid: replicate"),
        (
            (FSDP2, "cluster.address=auto"),
            r"cluster.sharding=fsdp2 is not valid with rollout workers \(cluster.address\): they get whole weights",
        ),
        (("cluster.sharding=ddp",), "cluster.sharding='ddp'.*replicate, fsdp2"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(tmp_path: Path, overrides: tuple[str, ...], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        run(planar_config(tmp_path / "run", None, *overrides))
    assert not (tmp_path / "run").exists()


def test_one_process_has_nothing_to_share_out_with(tmp_path: Path, tiny_policy_folder: Path) -> None:
    for name in ("replicate", "fsdp2"):
        overrides = (*ALGORITHMS["sft"], f"cluster.sharding={name}", "training.n_steps=1")
        run(planar_config(tmp_path / name, tiny_policy_folder, *overrides))
    one, other = weights_of(tmp_path / "replicate"), weights_of(tmp_path / "fsdp2")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_estimate_shares_out_what_is_trained() -> None:
    architecture = find_architecture("pi0")
    one, sharded = (estimate(architecture, "full", Options(dtype="bfloat16", share=share)) for share in (1, 8))
    for name in ("weights", "gradients", "optimizer"):
        assert getattr(sharded, name) == pytest.approx(getattr(one, name) / 8, rel=1e-6)
    assert (sharded.activations, sharded.weight_copies) == (one.activations, one.weight_copies)
    assert sharded.gathered.acting > one.weights and sharded.peak < 0.5 * one.peak
    expert = estimate(architecture, "expert only", Options(share=8))
    assert expert.weights > 4 * (expert.parameters - expert.trainable) * 0.9  # the frozen prefix stays whole
    assert (
        estimate(architecture, "inference", Options(share=8)).peak
        == estimate(architecture, "inference", Options()).peak
    )
