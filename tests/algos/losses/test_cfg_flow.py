from typing import Any

import numpy as np
import pytest
import torch
from samples import episode

from ript.algos.losses.cfg_flow import FlowDraw, cfg_flow_loss, draw_for_windows
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.storage.windows import Window, cut_windows

SEED = (0, 0, 0)


def make_windows(policy: PI0_OFT_Policy, lengths: tuple[int, ...] = (50, 73, 20)) -> list[Window]:
    """One window of 50 steps, two of a longer episode, one short."""
    return [
        window
        for i, length in enumerate(lengths)
        for window in cut_windows(episode(length, seed=i), 1.0 - i, i, policy.norm_stats)
    ]


def loss_of(policy: PI0_OFT_Policy, windows: list[Window], weights: list[float], **options: Any) -> Any:
    return cfg_flow_loss(policy, windows, torch.tensor(weights), draw_for_windows(windows, SEED), **options)


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


@torch.no_grad()
def test_the_loss_is_its_formula(tiny_policy: PI0_OFT_Policy) -> None:
    torch.nn.init.normal_(tiny_policy.model.condition.fuse.weight, std=0.1)  # so that the branches differ
    windows = make_windows(tiny_policy)
    weights = [0.0, 1.0, 2.5, 1.0]
    loss = loss_of(tiny_policy, windows, weights, alpha_uncond=0.3)
    draw = draw_for_windows(windows, SEED)
    for i, window in enumerate(windows):
        own = FlowDraw(draw.noise[i : i + 1], draw.time[i : i + 1], draw.dropped[i : i + 1])
        positive, unconditional = (branch_loss(tiny_policy, window, own, condition) for condition in (1, 0))
        assert abs(positive - unconditional) > 1e-4
        assert float(loss.positive[i]) == pytest.approx(positive, rel=1e-4)
        assert float(loss.unconditional[i]) == pytest.approx(unconditional, rel=1e-4)
        assert float(loss.total[i]) == pytest.approx(weights[i] * positive + 0.3 * unconditional, rel=1e-4)


@torch.no_grad()
def test_both_branches_see_the_same_noise_and_time(tiny_policy: PI0_OFT_Policy) -> None:
    loss = loss_of(tiny_policy, make_windows(tiny_policy), [1.0] * 4)
    torch.testing.assert_close(loss.positive, loss.unconditional)  # an untrained fuse ignores the condition


def test_the_unconditional_branch_never_sees_the_advantage(tiny_policy: PI0_OFT_Policy) -> None:
    windows = make_windows(tiny_policy)
    gradients = []
    for weights in ([0.0] * 4, [1e-30] * 4):
        tiny_policy.model.zero_grad()
        loss_of(tiny_policy, windows, weights).total.sum().backward()
        gradients.append(tiny_policy.model.action_out_proj.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_cfg_scale_is_no_argument_of_training() -> None:
    assert "cfg_scale" not in cfg_flow_loss.__kwdefaults__


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


def test_a_windows_draw_does_not_depend_on_its_neighbours(tiny_policy: PI0_OFT_Policy) -> None:
    windows = make_windows(tiny_policy)
    together, alone = draw_for_windows(windows, SEED), draw_for_windows(windows[2:3], SEED)
    torch.testing.assert_close(together.noise[2:3], alone.noise)
    torch.testing.assert_close(together.time[2:3], alone.time)
    assert not torch.equal(together.noise[0], together.noise[1])
    assert not torch.equal(draw_for_windows(windows, (0, 1, 0)).noise, together.noise)
