"""PPO on real decisions of the plane: the first ratio, padding, ranks, what is recorded and what is refused."""

from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import planar
import pytest
import torch
from jobs import summed_gradient
from ranks import run_ranks

from ript.algos.losses.ppo import PPOLoss
from ript.algos.policies.actor import Actor, Exploration
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.advantage_estimator import AdvantageEstimator
from ript.algos.rl_optimizers.ppo_optimizer_pi0 import PPOOptimizerPI0
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.models.pi0.heads import HeadSettings
from ript.storage.batch import Batch
from ript.storage.rollout_storage import RolloutStorage
from ript.storage.windows import Window, decided_windows
from ript.training.learner import Learner

SAMPLERS = ("sde", "cps", "noise")


def make_policy(folder: Path, sampler: str = "sde") -> PI0_OFT_Policy:
    torch.manual_seed(0)
    return PI0_OFT_Policy(pretrained_path=str(folder), heads=HeadSettings(add_value_head=True, sampler=sampler))


def played(policy: PI0_OFT_Policy, sampler: str = "sde", count: int = 4, **options: Any) -> tuple[list[Episode], Any]:
    chosen = Exploration(sampler=sampler, num_denoise_steps=3).at(0, policy)
    runner = planar.planar_runner(rollouts_per_env=count, num_parallel_envs=count, open_loop=20, **options)
    return [e for _, _, e in runner.run_policy_in_env(planar.TASKS[0], Actor(policy, chosen))], chosen


def windows_of(episodes: list[Episode]) -> list[Window]:
    numbered = [replace(e, episode_id=i) for i, e in enumerate(episodes)]
    rng = np.random.default_rng(0)
    return [
        window
        for e in numbered
        for window in decided_windows(e, rng.normal(size=len(e.executed)), rng.normal(size=len(e.executed)))
    ]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_first_ratio_is_1_and_the_value_the_old_one_exactly(tiny_policy_folder: Path, sampler: str) -> None:
    policy = make_policy(tiny_policy_folder, sampler)
    episodes, chosen = played(policy, sampler)
    first_chunks = [next(decided_windows(e, np.ones(len(e.executed)), np.zeros(len(e.executed)))) for e in episodes]
    terms = PPOLoss()(policy, Batch.of(first_chunks), (0,), sampler=chosen)
    assert terms.policy.tolist() == [-1.0] * 4  # -A·ρ
    assert terms.approx_kl.tolist() == terms.clip_fraction.tolist() == [0.0] * 4
    old = torch.tensor([window.decision.value for window in first_chunks])
    assert torch.equal(terms.value, 0.5 * old.square())


def test_a_decision_is_recorded_as_arrays(tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder)
    (episode, *_), _ = played(policy, observe_end=True)
    assert len(episode.decisions) == len(episode.executed) == len(episode.values)
    for chunk, decision in zip(episode.actions_normalized, episode.decisions, strict=True):
        assert decision.points.shape == (4, 50, 32) and decision.log_prob.shape == (50, 7)
        np.testing.assert_array_equal(decision.points[-1, :, :7], chunk)
    assert (episode.last_observation is None) == episode.success


def test_what_was_not_executed_changes_no_number(tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder)
    episodes, chosen = played(policy)
    windows = windows_of(episodes)
    assert all(window.action_is_pad[20:].all() for window in windows)
    garbage = []
    for window in windows:
        log_prob = window.decision.log_prob.copy()
        log_prob[window.action_is_pad] = 1e9
        garbage.append(replace(window, decision=replace(window.decision, log_prob=log_prob)))
    plain, spoiled = (PPOLoss()(policy, Batch.of(part), (0,), sampler=chosen) for part in (windows, garbage))
    assert all(torch.equal(a, b) for a, b in zip(plain, spoiled, strict=True))


def gradient(distributed: Distributed, folder: Path, size: int) -> Any:
    """Gradient (flat) of PPO's loss on this rank's share of the same decisions."""
    policy = make_policy(folder)
    episodes, chosen = played(policy)
    own = windows_of(episodes)[distributed.rank :: distributed.world_size]
    optimizers = {name: torch.optim.AdamW(group) for name, group in policy.trainable_params.items()}
    learner = Learner(policy, optimizers, optimizer_batch_size=size, distributed=distributed)
    learner.accumulate(partial(PPOLoss(), sampler=chosen), Batch.of(own), 1.0, (0,), defaultdict(float))
    return summed_gradient(policy, distributed)


def test_the_gradient_is_the_same_for_any_micro_batch_and_number_of_ranks(tiny_policy_folder: Path) -> None:
    whole = gradient(Distributed(), tiny_policy_folder, 100)
    assert np.abs(whole).max() > 0
    for other in (gradient(Distributed(), tiny_policy_folder, 3), *run_ranks(gradient, 2, tiny_policy_folder, 3)):
        np.testing.assert_allclose(other, whole, atol=1e-5 * np.abs(whole).max())


def make_optimizer(**options: Any) -> PPOOptimizerPI0:
    runner = planar.planar_runner(num_parallel_envs=4, open_loop=20)
    generator = RolloutGenerator(runner, rloo_batch_size=4, demo_batch_size=1, use_tqdm=False)
    return PPOOptimizerPI0(generator, SuccessReward(), storage=RolloutStorage(), use_tqdm=False, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema_decay": 0.9}, "ema_decay=0.9"),
        ({"cfg_scale": 1.5}, "cfg_scale=1.5"),
        ({"lora": {"dropout": 0.1}}, "lora.dropout"),
        ({"critic_warmup_steps": 3}, "advantage=gae"),
        ({"critic_warmup_steps": -1}, "critic_warmup_steps=-1"),
        ({"episode_weighted": "yes"}, "episode_weighted"),
    ],
)
def test_what_would_make_the_ratio_meaningless_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_optimizer(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "ode"}, "sde, cps, noise"),
        ({"noise_level": 0}, "noise_level=0"),
        ({"noise_anneal": [0.3]}, "noise_anneal"),
        ({"sampler": "noise", "noise_anneal": [0.3, 5]}, "sampler=noise"),
        ({"sampler": "cps", "ignore_last": False}, "ignore_last=False"),
        ({"num_denoise_steps": 0}, "num_steps=0"),
    ],
)
def test_a_sampler_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Exploration(**options)


def test_the_noise_anneals_in_a_line(tiny_policy: PI0_OFT_Policy) -> None:
    exploration = Exploration(noise_level=0.7, noise_anneal=[0.3, 4])
    levels = [exploration.at(iteration, tiny_policy).noise_level for iteration in (0, 1, 4, 9)]
    assert levels == pytest.approx([0.7, 0.6, 0.3, 0.3])


def test_an_iteration_acts_with_its_own_noise(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = make_optimizer(exploration=Exploration(noise_level=0.7, noise_anneal=[0.3, 4]))
    optimizer.iteration = 2
    assert optimizer.actor(tiny_policy).sampler.noise_level == pytest.approx(0.5)


def test_while_the_critic_warms_up_the_policy_neither_learns_nor_counts(tiny_policy_folder: Path) -> None:
    policy = make_policy(tiny_policy_folder)
    episodes, chosen = played(policy)
    terms = PPOLoss(value_coef=0.5)(policy, Batch.of(windows_of(episodes)), (0,), sampler=chosen, policy_coef=0.0)
    assert terms.policy.any()
    torch.testing.assert_close(terms.total, 0.5 * terms.value)
    estimator = AdvantageEstimator("gae", rloo_batch_size=4, add_value_head=True)
    optimizer = make_optimizer(critic_warmup_steps=2, estimator=estimator)
    learner = Learner(policy, {name: torch.optim.AdamW(group) for name, group in policy.trainable_params.items()})
    assert optimizer.groups(learner) == ["value"]
    optimizer.steps = 2
    assert optimizer.groups(learner) == ["model", "header", "value"]


def test_heads_lie_in_files_of_their_own_and_come_back(tiny_policy_folder: Path, tmp_path: Path) -> None:
    policy = make_policy(tiny_policy_folder, "noise")
    policy.save(tmp_path)
    network = (tiny_policy_folder / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == network
    assert sorted(path.name for path in tmp_path.glob("*_head.safetensors")) == [
        "log_std_head.safetensors",
        "value_head.safetensors",
    ]
    torch.manual_seed(1)
    again = PI0_OFT_Policy(pretrained_path=str(tmp_path), heads=HeadSettings(add_value_head=True, sampler="noise"))
    for name, tensor in policy.heads.state_dict().items():
        assert torch.equal(tensor, again.heads.state_dict()[name])
    assert "value" not in PI0_OFT_Policy(pretrained_path=str(tmp_path)).trainable_params
    (tmp_path / "value_head.safetensors").write_bytes((tmp_path / "log_std_head.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"value_head\.safetensors: not this policy's value head"):
        PI0_OFT_Policy(pretrained_path=str(tmp_path), heads=HeadSettings(add_value_head=True))
