"""The CFG-Flow loss of a batch of windows (CFGRL, arXiv 2505.23458, in π0's time convention)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ript.algos.losses.flow_matching import masked_flow_loss
from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range, one_of
from ript.flow.path import path_sample, sample_time
from ript.models.pi0.conditioning import POSITIVE, UNCONDITIONAL
from ript.models.pi0.dims import PADDED_DIM
from ript.seeds import Word, entropy, torch_generator
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows
from ript.storage.windows import Window, stack_actions

LossMode = Literal["dual", "dropout"]


class WindowLoss(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    positive: Tensor
    """Flow loss of the positive branch; NaN where that branch learns nothing."""
    unconditional: Tensor
    """Flow loss of the unconditional branch; NaN where that branch learns nothing."""


class FlowDraw(NamedTuple):
    """The random numbers of a batch of windows. Each window's depend on nothing but its own seed."""

    noise: Tensor
    """(B, H, 32)."""
    time: Tensor
    """(B,) in (0, 1]."""
    dropped: Tensor
    """(B,) uniform in [0, 1), compared with `cond_dropout`."""


def draw_for_windows(batch: Batch, seed: tuple[int, ...]) -> FlowDraw:
    """Noise and time, the same for a window however windows are split over micro-batches and ranks."""
    draws = []
    for window, occurrence in zip(batch.windows, batch.occurrence.tolist(), strict=True):
        generator = torch_generator(entropy(Word.WINDOW, *seed, window.episode_id, window.start, occurrence))
        noise = torch.randn(len(window.action_is_pad), PADDED_DIM, generator=generator)
        draws.append((noise, sample_time(1, generator)[0], torch.rand((), generator=generator)))
    return FlowDraw(*(torch.stack(parts) for parts in zip(*draws, strict=True)))


@dataclass(frozen=True)
class CFGFlowLoss:
    """L = w(A)·L_pos + alpha_uncond·u·L_uncond per window, both branches with the same noise and time.

    w(A) is `Batch.weight` and u is `Batch.weight_uncond`. A branch is computed for the windows that it learns from, and
    for no others; all of them share one pass of the prefix.

    Args:
        loss_mode: `dual` trains both branches; `dropout`, as published, one per window: the positive one where w > 0,
            with weight w, unless it is dropped; the unconditional one, with weight u, everywhere else.
        alpha_uncond: weight of the unconditional loss in `dual` mode.
        cond_dropout: probability that `dropout` mode drops the positive branch.
    """

    loss_mode: LossMode = "dual"
    alpha_uncond: float = 0.1
    cond_dropout: float = 0.1

    def __post_init__(self) -> None:
        one_of("loss_mode", self.loss_mode, ("dual", "dropout"))
        in_range("alpha_uncond", self.alpha_uncond, 0)
        in_range("cond_dropout", self.cond_dropout, 0, 1)

    def __call__(
        self,
        policy: PI0_OFT_Policy,
        batch: Batch,
        seed: tuple[int, ...],
        encode: Callable[[Sequence[Window]], EncodedObservation] | None = None,
    ) -> WindowLoss:
        """The loss of each window. `encode` gives the prefixes, if not the policy itself: see `PrefixStore`."""
        draw = FlowDraw(*(part.to(policy.device) for part in draw_for_windows(batch, seed)))
        weights = self.branch_weights(batch, draw.dropped)
        encoded = encode_windows(policy, batch.windows) if encode is None else encode(batch.windows)
        learned = weights > 0
        losses = branch_losses(policy, batch.windows, encoded, draw, learned)
        return WindowLoss((weights * losses.nan_to_num()).sum(dim=0), *losses.masked_fill(~learned, torch.nan))

    def branch_weights(self, batch: Batch, dropped: Tensor) -> Tensor:
        """Weights (2, B) of the positive and of the unconditional loss."""
        weight, weight_uncond = (torch.from_numpy(array).to(dropped) for array in (batch.weight, batch.weight_uncond))
        if self.loss_mode == "dual":
            return torch.stack([weight, self.alpha_uncond * weight_uncond])
        is_positive = (weight > 0) & (dropped >= self.cond_dropout)
        return torch.stack([weight * is_positive, weight_uncond * ~is_positive])


def branch_losses(
    policy: PI0_OFT_Policy,
    windows: Sequence[Window],
    encoded: EncodedObservation,
    draw: FlowDraw,
    wanted: Tensor,
) -> Tensor:
    """Flow losses (2, B) of the positive and of the unconditional branch; NaN where `wanted` (2, B) is False.

    Where nothing is wanted, nothing is computed; with sharded weights one is, since all ranks call them or none.
    """
    actions, is_pad = (torch.from_numpy(array).to(policy.device) for array in stack_actions(windows))
    padded = torch.nn.functional.pad(actions, (0, PADDED_DIM - actions.shape[-1]))
    x_t, u_t = path_sample(padded, draw.noise, draw.time)
    losses = torch.full(wanted.shape, torch.nan, device=policy.device)
    if not wanted.any():
        if policy.sharding is None:
            return losses
        wanted = torch.zeros_like(wanted)
        wanted[0, 0] = True
    branch, row = wanted.nonzero(as_tuple=True)
    condition = torch.where(branch == 0, POSITIVE, UNCONDITIONAL)
    velocity = policy.model.velocity(encoded.prefix.take(row), encoded.state[row], x_t[row], draw.time[row], condition)
    found = masked_flow_loss(velocity, u_t[row], is_pad[row], policy.action_dim)
    return losses.index_put((branch, row), found)
