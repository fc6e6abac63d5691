"""The CFG-Flow loss of a micro-batch of windows (CFGRL, arXiv 2505.23458, in π0's time convention)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ript.algos.losses.flow_matching import masked_flow_loss
from ript.algos.policies.pi0_oft_policy import EncodedObservation, PI0_OFT_Policy
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.flow.path import path_sample, sample_time
from ript.models.pi0.conditioning import POSITIVE, UNCONDITIONAL
from ript.models.pi0.config import ACTION_DIM, PADDED_DIM
from ript.storage.windows import Window, stack_actions

LossMode = Literal["dual", "dropout"]


class WindowLoss(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    positive: Tensor
    """Flow loss of the positive branch; NaN where that branch was not computed."""
    unconditional: Tensor
    """Flow loss of the unconditional branch; NaN where it was not computed."""


@dataclass(frozen=True)
class FlowDraw:
    """The random numbers of a batch of windows. Each window's depend on nothing but its own seed."""

    noise: Tensor
    """(B, H, 32)."""
    time: Tensor
    """(B,) in (0, 1]."""
    dropped: Tensor
    """(B,) uniform in [0, 1), compared with `cond_dropout`."""


def draw_for_windows(windows: Sequence[Window], seed: tuple[int, ...]) -> FlowDraw:
    """Noise and time, the same for a window however windows are split over micro-batches and ranks."""
    horizon = len(windows[0].action_is_pad)
    draws = []
    for window in windows:
        entropy = np.random.SeedSequence([*seed, window.episode_id, window.start])
        generator = torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))
        noise = torch.randn(horizon, PADDED_DIM, generator=generator)
        draws.append((noise, sample_time(1, generator)[0], torch.rand((), generator=generator)))
    noise, time, dropped = (torch.stack(parts) for parts in zip(*draws, strict=True))
    return FlowDraw(noise, time, dropped)


def encode_windows(policy: PI0_OFT_Policy, windows: Sequence[Window]) -> EncodedObservation:
    """The encoded observations of a batch of windows."""
    return policy.encode(collate_observations([window.observation for window in windows]))


def cfg_flow_loss(
    policy: PI0_OFT_Policy,
    windows: Sequence[Window],
    weights: Tensor,
    draw: FlowDraw,
    *,
    alpha_uncond: float = 0.1,
    loss_mode: LossMode = "dual",
    cond_dropout: float = 0.1,
    encode: Callable[[Sequence[Window]], EncodedObservation] | None = None,
) -> WindowLoss:
    """L = w(A)·L_pos + alpha_uncond·L_uncond per window, both branches with the same noise and time.

    `weights` (B,) is w(A). `dropout` computes one branch per window instead: the positive one where w > 0, with weight
    w, unless it is dropped with probability `cond_dropout`; the unconditional one, with weight 1, everywhere else.
    `encode` gives the windows' prefixes, if not the policy itself: see `PrefixStore`.
    """
    device = policy.device
    actions, is_pad = (torch.from_numpy(array).to(device) for array in stack_actions(windows))
    padded = torch.nn.functional.pad(actions, (0, PADDED_DIM - actions.shape[-1]))
    time = draw.time.to(device)
    x_t, u_t = path_sample(padded, draw.noise.to(device), time)
    prefix, state = encode_windows(policy, windows) if encode is None else encode(windows)
    weights = weights.to(device)
    if loss_mode == "dual":
        conditions = (POSITIVE, UNCONDITIONAL)
        velocity = policy.model.branch_velocities(prefix.repeat(2), state, x_t, time, conditions)
        positive, unconditional = masked_flow_loss(velocity, u_t, is_pad, ACTION_DIM)
        return WindowLoss(weights * positive + alpha_uncond * unconditional, positive, unconditional)
    is_positive = (weights > 0) & (draw.dropped.to(device) >= cond_dropout)
    velocity = policy.model.velocity(prefix, state, x_t, time, is_positive.long())
    loss = masked_flow_loss(velocity, u_t, is_pad, ACTION_DIM)
    total = torch.where(is_positive, weights, torch.ones_like(weights)) * loss
    nan = torch.full_like(loss, torch.nan)
    return WindowLoss(total, torch.where(is_positive, loss, nan), torch.where(is_positive, nan, loss))
