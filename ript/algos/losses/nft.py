"""The likelihood-free loss: towards what did well and away from what did badly (DiffusionNFT, arXiv 2509.16117)."""

from typing import NamedTuple

from torch import Tensor

from ript.algos.losses.flow_matching import masked_flow_loss


class NftLoss(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    positive: Tensor
    """Flow loss E⁺ of the implicit positive policy."""
    negative: Tensor
    """Flow loss E⁻ of the implicit negative policy."""


def nft_loss(
    velocity: Tensor,
    old_velocity: Tensor,
    u_t: Tensor,
    is_pad: Tensor,
    advantages: Tensor,
    action_dim: int,
    *,
    beta: float = 1.0,
) -> NftLoss:
    """L = r·E⁺ + (1 - r)·E⁻ with E± = ‖u_t - v±‖², v± = v_old ± β·(v - v_old) and r = clip(A, ±0.5) + 0.5.

    `velocity`, `old_velocity` (the acting policy's at the same points, which gets no gradient) and `u_t` are (B, H, D);
    `is_pad` (B, H) and `action_dim` as for `masked_flow_loss`; `advantages` (B,).
    """
    old = old_velocity.detach()
    change = beta * (velocity - old)
    positive, negative = (masked_flow_loss(v, u_t, is_pad, action_dim) for v in (old + change, old - change))
    goodness = advantages.clamp(-0.5, 0.5) + 0.5
    return NftLoss(goodness * positive + (1 - goodness) * negative, positive, negative)
