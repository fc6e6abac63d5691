"""The clipped policy gradient of PPO and GRPO (arXiv 1707.06347) on the log-probabilities of action chunks."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ript.checks import one_of

Ratio = Literal["chunk", "chunk_mean", "token"]
MAX_LOG_RATIO = 20.0
"""The sum over a chunk can exceed what exp can represent; an infinite ratio would make 0·∞ of a clipped gradient."""


class ClippedPolicyLoss(NamedTuple):
    """Per decision (B,), not yet averaged: sums over decisions, divided by the sum of `weight`, are the means."""

    total: Tensor
    """What is minimised; 0 where the decision does not count."""
    approx_kl: Tensor
    """ratio - 1 - ln ratio, an estimate of the divergence from the old policy that is never negative."""
    clip_fraction: Tensor
    """Share of the ratios that lie outside the clipping range."""
    weight: Tensor
    """1 where the decision counts; 0 where it is filtered or no step of it was executed."""


def clipped_policy_loss(
    log_prob: Tensor,
    old_log_prob: Tensor,
    advantages: Tensor,
    is_pad: Tensor,
    is_kept: Tensor | None = None,
    *,
    ratio: Ratio = "chunk",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> ClippedPolicyLoss:
    """max(-A·ρ, -A·clip(ρ, 1 - clip_low, 1 + clip_high)) with the ratio ρ = exp(log p - old log p).

    `log_prob` and `old_log_prob` are (B, H, A) elementwise, `advantages` (B,), `is_pad` (B, H) True for steps that were
    not executed, `is_kept` (B,) False for filtered decisions. The ratio is `chunk`: one, of the sum over executed steps
    and dimensions; `chunk_mean`: one, of their mean; `token`: one per element, clipped each, and then averaged.
    Elements that do not count change no number and get no gradient, even when they are infinite.
    """
    one_of("ratio", ratio, ("chunk", "chunk_mean", "token"))
    executed = ~is_pad if is_kept is None else ~is_pad & is_kept[:, None]
    counts = executed.any(dim=1)
    is_scored = executed[..., None].expand_as(log_prob)
    log_ratio = torch.where(is_scored, log_prob - old_log_prob, 0.0)
    if ratio != "token":
        log_ratio = log_ratio.sum(dim=(1, 2), keepdim=True)
        if ratio == "chunk_mean":
            log_ratio = log_ratio / is_scored.sum(dim=(1, 2), keepdim=True).clamp(min=1)
        is_scored = counts[:, None, None]
    log_ratio = log_ratio.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    rho, low, high = log_ratio.exp(), 1 - clip_low, 1 + clip_high
    gain = torch.where(counts, advantages, 0.0)[:, None, None]
    loss = torch.maximum(-gain * rho, -gain * rho.clamp(low, high))
    with torch.no_grad():
        approx_kl = masked_mean(rho - 1 - log_ratio, is_scored)
        clip_fraction = masked_mean(((rho < low) | (rho > high)).to(rho.dtype), is_scored)
    return ClippedPolicyLoss(masked_mean(loss, is_scored), approx_kl, clip_fraction, counts.to(rho.dtype))


def masked_mean(elements: Tensor, is_scored: Tensor) -> Tensor:
    """Mean (B,) of the elements (B, H, A) that are scored, 0 where none is; for the entropy bonus too."""
    is_scored = is_scored.expand_as(elements)
    return torch.where(is_scored, elements, 0.0).sum(dim=(1, 2)) / is_scored.sum(dim=(1, 2)).clamp(min=1)
