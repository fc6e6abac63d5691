import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from samples import episode

from ript.algos.losses.cfg_flow import CFGFlowLoss, FlowDraw, draw_for_windows
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.storage.batch import Batch
from ript.storage.windows import Window, WindowCutter
from ript.training.learner import Learner

SEED = (0, 0, 0, 0)


def make_windows(policy: PI0_OFT_Policy, lengths: tuple[int, ...] = (50, 73, 20)) -> list[Window]:
    """One window of 50 steps, two of a longer episode, one short."""
    return [
        window
        for i, length in enumerate(lengths)
        for window in WindowCutter().cut(episode(length, seed=i, episode_id=i), 1.0 - i, policy.norm_stats)
    ]


def batch_of(windows: list[Window], weight: list[float], weight_uncond: list[float] | None = None) -> Batch:
    batch = Batch.of(windows, np.array(weight))
    return batch if weight_uncond is None else replace(batch, weight_uncond=np.array(weight_uncond))


def loss_of(policy: PI0_OFT_Policy, windows: list[Window], weights: list[float], **options: Any) -> Any:
    return CFGFlowLoss(**options)(policy, batch_of(windows, weights), SEED)


def branch_loss(policy: PI0_OFT_Policy, window: Window, draw: FlowDraw, condition: int) -> float:
    """The definition, one window and one step at a time."""
    prefix, state = policy.encode(collate_observations([window.observation]))
    actions = torch.zeros(1, 50, 32)
    actions[0, :, :7] = torch.from_numpy(window.actions)
    t = draw.time[:1]
    x_t = t * draw.noise[:1] + (1 - t) * actions
    velocity = policy.model.velocity(prefix, state, x_t, t, torch.tensor([condition]))
    errors = [
        float((draw.noise[0, step, dim] - actions[0, step, dim] - velocity[0, step, dim]) ** 2)
        for step in range(50)
        if not window.action_is_pad[step]
        for dim in range(7)
    ]
    return float(np.mean(errors))


def separate_branches(policy: PI0_OFT_Policy) -> None:
    """Without this, an untrained fuse ignores the condition."""
    torch.manual_seed(0)
    torch.nn.init.normal_(policy.model.condition.fuse.weight, std=0.1)


@torch.no_grad()
def test_the_loss_is_its_formula(tiny_policy: PI0_OFT_Policy) -> None:
    separate_branches(tiny_policy)
    windows = make_windows(tiny_policy)
    weights, uncond = [0.0, 1.0, 2.5, 1.0], [1.0, 2.0, 0.0, 1.0]
    batch = batch_of(windows, weights, uncond)
    loss = CFGFlowLoss(alpha_uncond=0.3)(tiny_policy, batch, SEED)
    draw = draw_for_windows(batch, SEED)
    for i, window in enumerate(windows):
        own = FlowDraw(draw.noise[i : i + 1], draw.time[i : i + 1], draw.dropped[i : i + 1])
        positive, unconditional = (branch_loss(tiny_policy, window, own, condition) for condition in (1, 0))
        assert abs(positive - unconditional) > 1e-4
        expected = weights[i] * positive + 0.3 * uncond[i] * unconditional
        assert float(loss.total[i]) == pytest.approx(expected, rel=1e-4)
        for found, value, weight in ((loss.positive, positive, weights), (loss.unconditional, unconditional, uncond)):
            assert float(found[i]) == pytest.approx(value, rel=1e-4) if weight[i] else found[i].isnan()


@torch.no_grad()
def test_both_branches_see_the_same_noise_and_time(tiny_policy: PI0_OFT_Policy) -> None:
    loss = loss_of(tiny_policy, make_windows(tiny_policy), [1.0] * 4)
    torch.testing.assert_close(loss.positive, loss.unconditional)  # an untrained fuse ignores the condition


def test_the_unconditional_branch_never_sees_the_advantage(tiny_policy: PI0_OFT_Policy) -> None:
    separate_branches(tiny_policy)
    windows = make_windows(tiny_policy)
    learned = []
    for weights in ([0.0] * 4, [3.0, 0.0, 1.0, 0.5]):
        loss = loss_of(tiny_policy, windows, weights)
        (gradient,) = torch.autograd.grad(
            loss.total.sum() - (torch.tensor(weights) * loss.positive.nan_to_num()).sum(),
            [tiny_policy.model.action_out_proj.weight],
        )
        learned.append((loss.unconditional.detach(), gradient))
    for first, second in zip(*learned, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)
    assert learned[0][1].abs().max() > 1e-3


@pytest.mark.parametrize("callable_", [CFGFlowLoss, CFGFlowLoss.__call__, CFGFlowOptimizerPI0, Learner.step])
def test_cfg_scale_is_no_argument_of_training(callable_: Any) -> None:
    assert "cfg_scale" not in inspect.signature(callable_).parameters


def test_a_window_that_trains_no_branch_costs_nothing(tiny_policy: PI0_OFT_Policy) -> None:
    loss = CFGFlowLoss()(tiny_policy, batch_of(make_windows(tiny_policy), [0.0] * 4, [0.0] * 4), SEED)
    assert loss.total.tolist() == [0.0] * 4 and not loss.total.requires_grad


@torch.no_grad()
def test_dropout_mode_trains_one_branch_per_window(tiny_policy: PI0_OFT_Policy) -> None:
    windows = make_windows(tiny_policy)
    weights = [1.0, 0.0, 1.0, 0.0]
    kept = loss_of(tiny_policy, windows, weights, loss_mode="dropout", cond_dropout=0.0)
    assert kept.positive.isnan().tolist() == [False, True, False, True]
    assert kept.unconditional.isnan().tolist() == [True, False, True, False]
    dropped = loss_of(tiny_policy, windows, weights, loss_mode="dropout", cond_dropout=1.0)
    assert dropped.positive.isnan().all()
    torch.testing.assert_close(dropped.total, dropped.unconditional)


def test_a_windows_draw_does_not_depend_on_its_neighbours_but_on_how_often_it_came(tiny_policy: PI0_OFT_Policy) -> None:
    windows = make_windows(tiny_policy)
    together, alone = draw_for_windows(Batch.of(windows), SEED), draw_for_windows(Batch.of(windows[2:3]), SEED)
    torch.testing.assert_close(together.noise[2:3], alone.noise)
    torch.testing.assert_close(together.time[2:3], alone.time)
    twice = draw_for_windows(replace(Batch.of(windows[:1] * 2), occurrence=np.array([0, 1])), SEED)
    assert len({float(x) for x in (together.time[0], together.time[1], twice.time[1])}) == 3
    assert torch.equal(twice.noise[0], together.noise[0]) and not torch.equal(twice.noise[1], together.noise[0])


def test_another_epoch_iteration_or_step_draws_other_noise(tiny_policy: PI0_OFT_Policy) -> None:
    batch = Batch.of(make_windows(tiny_policy)[:1])
    seeds = [SEED, *(tuple(int(i == place) for i in range(4)) for place in range(4))]
    assert len({float(draw_for_windows(batch, seed).time) for seed in seeds}) == 5
