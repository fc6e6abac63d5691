"""The flow-matching loss that imitation and reinforcement share."""

from torch import Tensor


def masked_flow_loss(velocity: Tensor, u_t: Tensor, is_pad: Tensor, action_dim: int) -> Tensor:
    """Per-window loss (…, B): ‖u_t - v‖² averaged over the valid steps and the first `action_dim` dimensions.

    `velocity` is (…, B, H, D) with any leading branch dimension, `u_t` (B, H, D), `is_pad` (B, H) True after the end
    of the episode. Padding counts neither in the sum nor in the denominator; a window of padding alone gives 0.
    """
    valid = (~is_pad).to(velocity.dtype)
    error = (velocity - u_t)[..., :action_dim].square().mean(dim=-1)
    return (error * valid).sum(dim=-1) / valid.sum(dim=-1).clamp(min=1)
