from itertools import chain
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch
from ranks import run_ranks

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.update_batches import FIRST_DEMONSTRATION
from ript.distributed import Distributed

EVERYTHING = [[0, 1, 2, 3, 4, 5]]


def alone(folder: Path, **options: Any) -> Any:
    return jobs.gradient_of_share(Distributed(), folder, EVERYTHING, options)


@pytest.mark.parametrize("loss_mode", ["dual", "dropout"])
def test_the_gradient_does_not_depend_on_the_split_into_micro_batches(tiny_policy_folder: Path, loss_mode: str) -> None:
    whole, sums = alone(tiny_policy_folder, optimizer_batch_size=100, loss_mode=loss_mode)
    for size in (1, 2, 4):  # 9 windows: a remainder each time
        gradient, split_sums = alone(tiny_policy_folder, optimizer_batch_size=size, loss_mode=loss_mode)
        np.testing.assert_allclose(gradient, whole, atol=1e-6)
        assert split_sums == pytest.approx(sums, rel=1e-5)


@pytest.mark.parametrize("shares", [[[0, 1, 2], [3, 4, 5]], [[0, 1, 2, 3, 4, 5], []]])
@pytest.mark.parametrize("weighting", ["binary", "continuous"])
def test_two_ranks_give_the_gradient_of_one(tiny_policy_folder: Path, shares: list[list[int]], weighting: str) -> None:
    whole, sums = alone(tiny_policy_folder, advantage_weighting=weighting)
    options = {"advantage_weighting": weighting}
    results = run_ranks(jobs.gradient_of_share, 2, tiny_policy_folder, shares, options)
    for gradient, shared_sums in results:
        np.testing.assert_allclose(gradient, whole, atol=1e-6)
        assert shared_sums == pytest.approx(sums, rel=1e-6)


def test_ranks_whose_rollouts_end_differently_stay_in_step(tiny_policy_folder: Path) -> None:
    options = {"rloo_batch_size": 4, "demo_batch_size": 1, "max_groups_per_step": 1, "update_batch_size": 4}
    results = run_ranks(jobs.optimize_on_plane, 2, tiny_policy_folder, 4, options)
    (metrics, weights), (other_metrics, other_weights) = results
    np.testing.assert_array_equal(weights, other_weights)
    for mine, theirs in zip(metrics, other_metrics, strict=True):
        shared = {key for key in mine if not key.startswith("time/")}
        assert {key: mine[key] for key in shared} == {key: theirs[key] for key in shared}
        assert all(np.isfinite(value) for value in mine.values())


def test_an_iteration_without_any_accepted_group_changes_nothing(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer(rloo_batch_size=2, demo_batch_size=1)
    before = [p.clone() for p in tiny_policy.model.parameters()]
    optimizers = {name: torch.optim.AdamW(group) for name, group in tiny_policy.trainable_params.items()}
    metrics = optimizer.update(tiny_policy, [], np.zeros(0), optimizers)
    assert metrics == {"num_windows": 0.0, "gradient_steps": 0.0}
    assert all(torch.equal(a, b) for a, b in zip(before, tiny_policy.model.parameters(), strict=True))


def test_every_window_is_stepped_once_per_epoch(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer(num_epochs=2, update_batch_size=4, optimizer_batch_size=3)
    episodes = jobs.make_episodes()
    windows = optimizer.make_windows(tiny_policy, episodes, jobs.ADVANTAGES)
    assert len(windows) == 9
    optimizers = {name: torch.optim.AdamW(group) for name, group in tiny_policy.trainable_params.items()}
    seen: list[list[tuple[int, int]]] = []
    step = optimizer.window_update.step

    def recording(policy: Any, chosen: Any, *rest: Any) -> Any:
        seen.append([(w.episode_id, w.start) for w in chosen])
        return step(policy, chosen, *rest)

    optimizer.window_update.step = recording  # type: ignore[method-assign]
    metrics = optimizer.update(tiny_policy, windows, jobs.ADVANTAGES, optimizers)
    everything = sorted((w.episode_id, w.start) for w in windows)
    assert [len(part) for part in seen] == [4, 4, 1, 4, 4, 1]
    assert sorted(chain(*seen[:3])) == sorted(chain(*seen[3:])) == everything
    assert metrics["gradient_steps"] == 6


def test_demonstrations_have_their_share_of_each_gradient_step_and_weight_one(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer(update_batch_size=6, demonstration_share=0.5)
    windows = optimizer.make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)
    optimizer.batches.demonstrations = windows[:2]
    optimizers = {name: torch.optim.AdamW(group) for name, group in tiny_policy.trainable_params.items()}
    step = optimizer.window_update.step
    seen: list[tuple[list[int], list[float]]] = []

    def recording(policy: Any, chosen: Any, weights: Any, *rest: Any) -> Any:
        seen.append(([w.episode_id for w in chosen], weights.tolist()))
        return step(policy, chosen, weights, *rest)

    optimizer.window_update.step = recording  # type: ignore[method-assign]
    optimizer.update(tiny_policy, windows, jobs.ADVANTAGES, optimizers)
    assert len(seen) == 3  # 9 windows of rollouts, 3 a step
    for ids, weights in seen:
        assert [number >= FIRST_DEMONSTRATION for number in ids] == [False] * 3 + [True] * 3
        assert weights[3:] == [1, 1, 1]


def test_both_parameter_groups_are_clipped_on_their_own(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = jobs.make_optimizer(gradient_clip=1e-3)
    windows = optimizer.make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)
    optimizers = {name: torch.optim.SGD(group, lr=0.0) for name, group in tiny_policy.trainable_params.items()}
    metrics = optimizer.update(tiny_policy, windows, jobs.ADVANTAGES, optimizers)
    for name, group in tiny_policy.trainable_params.items():
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in group if p.grad is not None]))
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)
        assert metrics[f"gradient_norm_{name}"] > 1e-3
        assert metrics[f"gradient_kept_{name}"] == pytest.approx(1e-3 / metrics[f"gradient_norm_{name}"])


def test_metrics_divide_sums_by_their_own_counts(tiny_policy_folder: Path) -> None:
    options = {"rloo_batch_size": 4, "demo_batch_size": 2, "max_groups_per_step": 6}
    ((metrics,), _) = jobs.optimize_on_plane(Distributed(), tiny_policy_folder, 1, options)
    assert metrics["rollout_checked"] <= 6
    assert 0 < metrics["raw_success_rate"] < 1
    assert metrics["mean_advantage"] == pytest.approx(0, abs=1e-9)
    assert metrics["non_zero_adv_ratio"] == 1  # only mixed groups were kept
    assert metrics["rollouts_learned_from"] in (4, 8)
    assert metrics["num_windows"] == metrics["rollouts_learned_from"]  # one chunk per rollout


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("loss_mode", "duel", "did you mean dual"),
        ("advantage_weighting", "softmax", "binary, continuous, none"),
        ("short_windows", "drop", "mask, skip"),
        ("alpha_uncond", -0.1, "at least 0"),
        ("cond_dropout", 1.5, "from 0 to 1"),
        ("num_epochs", 0, "at least 1"),
        ("optimizer_batch_size", 2.5, "whole number"),
        ("gradient_clip", -1, "gradient_clip=-1"),
        ("demonstration_share", 0.5, "needs update_batch_size"),
        ("demonstration_share", 1, "from 0 to 0.9"),
    ],
)
def test_bad_options_are_refused_with_name_value_and_what_is_valid(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jobs.make_optimizer(**{option: value})
