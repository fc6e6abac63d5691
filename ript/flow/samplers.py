"""From noise to actions: Euler steps along the velocity, with guidance."""

import torch
from torch import Tensor

from ript.models.pi0.conditioning import POSITIVE, UNCONDITIONAL
from ript.models.pi0.modeling import Pi0FlowModel, Prefix


def guided_velocity(
    model: Pi0FlowModel, repeated: Prefix, state: Tensor, x_t: Tensor, time: Tensor, cfg_scale: float
) -> Tensor:
    """v_uncond + cfg_scale · (v_pos - v_uncond), (B, H, 32); `repeated` is the prefix repeated twice."""
    conditions = (POSITIVE, UNCONDITIONAL)
    positive, unconditional = model.branch_velocities(repeated, state, x_t, time, conditions)
    return unconditional + cfg_scale * (positive - unconditional)


@torch.no_grad()
def sample_actions(
    model: Pi0FlowModel,
    prefix: Prefix,
    state: Tensor,
    noise: Tensor,
    num_steps: int = 10,
    cfg_scale: float = 1.0,
    is_positive: int | None = None,
) -> Tensor:
    """Noise (B, H, 32) → normalised actions (B, H, 32): `num_steps` times x ← x - v / num_steps, from t = 1 down.

    `cfg_scale == 1` is the positive branch alone; `is_positive` (0 or 1) forces that branch whatever the scale.
    """
    if is_positive not in (None, UNCONDITIONAL, POSITIVE):
        raise ValueError(f"is_positive must be 0 or 1, got {is_positive!r}")
    guided = is_positive is None and cfg_scale != 1.0
    shared = prefix.repeat(2) if guided else prefix
    branch = POSITIVE if is_positive is None else is_positive
    condition = torch.full(noise.shape[:1], branch, device=noise.device)
    x = noise
    for step in range(num_steps):
        time = x.new_full(x.shape[:1], 1 - step / num_steps)
        if guided:
            velocity = guided_velocity(model, shared, state, x, time, cfg_scale)
        else:
            velocity = model.velocity(shared, state, x, time, condition)
        x = x - velocity / num_steps
    return x
