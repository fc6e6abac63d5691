"""The co-training term: what it adds, which demonstrations a step sees, and what is refused."""

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import ADVANTAGES, make_episodes, make_learner, make_optimizer, summed_gradient
from planar_run import demonstrated
from ranks import run_ranks
from torch.utils.data import Dataset

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.losses.demonstrations import demonstration_loss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.algos.rl_optimizers.co_training import CoTraining
from ript.distributed import Distributed
from ript.storage.batch import Batch
from ript.storage.windows import Window

SEED = (0, 0, 0, 0)


def filled(policy: PI0_OFT_Policy, distributed: Distributed, beta: float) -> CFGFlowOptimizerPI0:
    """An optimizer that has this rank's share of six episodes in its storage, and demonstrations if β is not 0."""
    co_training = CoTraining(beta > 0, sft_loss_weight=beta)
    optimizer = make_optimizer(
        distributed, update_batch_size=5, co_training=co_training, co_train_windows=demonstrated(policy)
    )
    own = slice(distributed.rank, None, distributed.world_size)
    windows = optimizer.make_windows(policy, make_episodes()[own], ADVANTAGES[own])
    optimizer.storage.add(windows, optimizer.weights(windows, ADVANTAGES[own]))
    return optimizer


def seen_and_gradient(distributed: Distributed, folder: Path, size: int, beta: float = 0.2) -> Any:
    """This rank's demonstrations of each step, and the gradient (flat) of the first step's terms over all ranks."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    optimizer = filled(policy, distributed, beta)
    learner = make_learner(policy, distributed, optimizer_batch_size=size)
    steps = []
    for number, (batch, seed) in enumerate(optimizer.mini_batches(epoch=0)):
        terms = [*optimizer.terms(batch, optimizer.loss), *optimizer.terms_beside(batch, seed, None)]
        steps.append([(w.episode_id, w.start) for w in terms[-1][1].windows])
        for loss, part, weight in (term for term in terms if term[2] and number == 0):
            learner.accumulate(loss, part, weight, seed, defaultdict(float))
    return steps, summed_gradient(policy, distributed)


def test_demonstrations_and_gradient_are_the_same_for_any_micro_batch_and_number_of_ranks(
    tiny_policy_folder: Path,
) -> None:
    steps, whole = seen_and_gradient(Distributed(), tiny_policy_folder, 100)
    assert [len(step) for step in steps] == [5, 4]  # as many as windows of rollouts
    assert steps[0] != steps[1][: len(steps[0])]
    _, small = seen_and_gradient(Distributed(), tiny_policy_folder, 2)
    (first, one), (second, two) = run_ranks(seen_and_gradient, 2, tiny_policy_folder, 3)
    for gradient in (small, one, two):
        np.testing.assert_allclose(gradient, whole, atol=1e-5 * np.abs(whole).max())
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(step) for step in steps]


def test_beta_times_the_flow_loss_of_the_demonstrations_is_added_and_nothing_else(tiny_policy_folder: Path) -> None:
    _, with_it = seen_and_gradient(Distributed(), tiny_policy_folder, 100)
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    optimizer = filled(policy, Distributed(), 0.2)
    batch, seed = next(optimizer.mini_batches(epoch=0))
    ((_, shown, weight),) = optimizer.terms_beside(batch, seed, None)
    assert weight == 0.2
    loss = optimizer.loss(policy, batch, seed).total.mean()
    # A supervised step with all windows positive, by SFT's own loss.
    as_sft = CFGFlowLoss(loss_mode="dropout", cond_dropout=0.0)
    (loss + 0.2 * as_sft(policy, shown, seed).total.mean()).backward()
    expected = summed_gradient(policy, Distributed())
    np.testing.assert_allclose(with_it, expected, atol=1e-5 * np.abs(expected).max())


def test_demonstrations_teach_the_branch_that_acts_alone(tiny_policy: PI0_OFT_Policy) -> None:
    optimizer = filled(tiny_policy, Distributed(), 0.2)
    batch, seed = next(optimizer.mini_batches(epoch=0))
    ((loss, shown, _),) = optimizer.terms_beside(batch, seed, None)
    assert loss is demonstration_loss
    found = demonstration_loss(tiny_policy, shown, seed)
    positive = CFGFlowLoss()(tiny_policy, shown, seed)
    assert torch.equal(found.total, positive.positive) and positive.unconditional.isnan().all()


def test_a_window_that_is_drawn_twice_has_noise_of_its_own(tiny_policy: PI0_OFT_Policy) -> None:
    one: Dataset[Window] = demonstrated(tiny_policy)[:1]  # type: ignore[assignment]
    rollouts = Batch.of(demonstrated(tiny_policy)[:3])
    shown = CoTraining(True).batch(one, rollouts, SEED, Distributed())
    losses = demonstration_loss(tiny_policy, shown, SEED).total
    assert len(set(losses.tolist())) == 3


@pytest.mark.parametrize(
    ("options", "weight"),
    [
        ({}, 0.0),
        ({"enable_sft_co_train": True}, 0.2),
        ({"use_real_data_co_training": True}, 0.2),
        ({"use_real_data_co_training": False}, 0.0),
        ({"enable_sft_co_train": True, "sft_loss_weight": 0}, 0.0),
    ],
)
def test_both_names_of_the_switch_are_understood(options: dict[str, Any], weight: float) -> None:
    assert CoTraining(**options).weight == weight


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"enable_sft_co_train": "yes"}, "enable_sft_co_train='yes'"),
        ({"enable_sft_co_train": True, "use_real_data_co_training": False}, "contradicts"),
        ({"sft_loss_weight": -0.1}, "sft_loss_weight=-0.1"),
        ({"enable_sft_co_train": True, "sft_data_path": "/no/such"}, "sft_data_path not found: /no/such"),
        ({"enable_sft_co_train": True, "freeze_policy": True}, "freeze_policy=false"),
    ],
)
def test_a_term_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CoTraining(**options)


def test_co_training_without_demonstrations_is_refused() -> None:
    with pytest.raises(ValueError, match="co_train_windows"):
        make_optimizer(co_training=CoTraining(True))


def test_steps_of_other_iterations_epochs_and_numbers_see_other_demonstrations(tiny_policy: PI0_OFT_Policy) -> None:
    windows: Dataset[Window] = [w for _ in range(10) for w in demonstrated(tiny_policy)]  # type: ignore[assignment]
    rollouts, seen = Batch.of(demonstrated(tiny_policy)), []
    for seed in itertools.product((0,), (0, 1), (0, 1), (0, 1)):
        shown = CoTraining(True).batch(windows, rollouts, seed, Distributed())
        seen.append(tuple((w.episode_id, w.start) for w in shown.windows))
    assert len(set(seen)) == 8
