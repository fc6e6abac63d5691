"""The network as the velocity callable of a sampler, with guidance inside: v_uncond + cfg_scale·(v_pos - v_uncond)."""

import torch
from torch import Tensor

from ript.checks import one_of
from ript.flow.samplers import Flow, Ode, VelocityFn
from ript.models.pi0.conditioning import POSITIVE, UNCONDITIONAL
from ript.models.pi0.modeling import Pi0FlowModel, Prefix


def branch_flow(model: Pi0FlowModel, prefix: Prefix, state: Tensor, branch: int = POSITIVE) -> VelocityFn:
    """One branch of the network, given a prefix and a state (B, 32)."""
    condition = torch.full(state.shape[:1], branch, device=state.device)
    return lambda x_t, time: model.flow(prefix, state, x_t, time, condition)


def guided_flow(
    model: Pi0FlowModel, prefix: Prefix, state: Tensor, cfg_scale: float = 1.0, is_positive: int | None = None
) -> VelocityFn:
    """Both branches as one batch, mixed by `cfg_scale`; no hidden, since the mix was read from none.

    `cfg_scale == 1` is the positive branch alone; `is_positive` (0 or 1) forces that branch whatever the scale.
    """
    one_of("is_positive", is_positive, (None, UNCONDITIONAL, POSITIVE))
    if is_positive is not None or cfg_scale == 1.0:
        return branch_flow(model, prefix, state, POSITIVE if is_positive is None else is_positive)
    repeated = prefix.repeat(2)

    def flow(x_t: Tensor, time: Tensor) -> Flow:
        conditions = (POSITIVE, UNCONDITIONAL)
        positive, unconditional = model.branch_velocities(repeated, state, x_t, time, conditions)
        return Flow(unconditional + cfg_scale * (positive - unconditional))

    return flow


def sample_actions(
    model: Pi0FlowModel,
    prefix: Prefix,
    state: Tensor,
    noise: Tensor,
    num_steps: int = 10,
    cfg_scale: float = 1.0,
    is_positive: int | None = None,
) -> Tensor:
    """Noise (B, H, 32) → normalised actions (B, H, 32) in `num_steps` Euler steps; guidance as in `guided_flow`."""
    actions, _ = Ode(num_steps).sample(guided_flow(model, prefix, state, cfg_scale, is_positive), noise)
    return actions
