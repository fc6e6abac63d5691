"""The value loss of PPO: Huber's, with the step away from the old value clipped (arXiv 1707.06347)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import huber_loss


class ValueLoss(NamedTuple):
    """Per decision (B,), not yet averaged: sums over decisions, divided by the sum of `weight`, are the means."""

    total: Tensor
    """What is minimised; 0 where the decision does not count."""
    is_clipped: Tensor
    """1 where the value moved further than the clip, counted before it is clamped."""
    weight: Tensor
    """1 where the decision counts."""


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    is_kept: Tensor | None = None,
    *,
    clip: float = 0.2,
    huber_delta: float = 10.0,
) -> ValueLoss:
    """max(Huber(V - R), Huber(V_old + clip(V - V_old, ±clip) - R)), all (B,).

    `is_kept` (B,) is False for decisions that do not count: they change no number and get no gradient.
    """
    kept = torch.ones_like(values, dtype=torch.bool) if is_kept is None else is_kept
    values, old_values, returns = (torch.where(kept, part, 0.0) for part in (values, old_values, returns))
    step = values - old_values
    ways = (values, old_values + step.clamp(-clip, clip))
    free, clamped = (huber_loss(way, returns, reduction="none", delta=huber_delta) for way in ways)
    return ValueLoss(torch.maximum(free, clamped), (step.detach().abs() > clip).to(values.dtype), kept.to(values.dtype))


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(R - V) / Var(R) over decisions (N,): 1 is perfect, 0 no better than the mean; NaN if all R are equal."""
    spread = returns.double().var()
    return float(1 - (returns.double() - values.double()).var() / spread) if spread > 0 else float("nan")
