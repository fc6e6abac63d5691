"""Guidance: v = v_uncond + cfg_scale·(v_pos − v_uncond) in every mode, and one branch at scale 1."""

import pytest
import torch
from golden_folders import KINDS, golden_architecture, golden_io, golden_prefix

from ript.models.pi0.conditioning import CONDITION_MODES, POSITIVE, UNCONDITIONAL
from ript.models.pi0.config import Kind
from ript.models.pi0.guidance import sample_actions
from ript.models.pi0.modeling import Pi0FlowModel


def trained_model(kind: Kind, mode: str) -> Pi0FlowModel:
    """Random weights whose two branches differ."""
    torch.manual_seed(0)
    model = Pi0FlowModel(golden_architecture(kind), mode)
    with torch.no_grad():
        for parameter in (*model.condition.parameters(), *model.model.dit.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("mode", CONDITION_MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_guided_steps_follow_the_closed_form(kind: Kind, mode: str) -> None:
    model, io = trained_model(kind, mode), golden_io(kind)
    prefix = golden_prefix(model, io)
    time = torch.ones(3)
    positive, unconditional = (
        model.velocity(prefix, io["state"], io["noise"], time, torch.full((3,), branch))
        for branch in (POSITIVE, UNCONDITIONAL)
    )
    assert (positive - unconditional).abs().max() > 1e-3
    for scale in (0.0, 1.0, 3.0):
        sample = sample_actions(model, prefix, io["state"], io["noise"], num_steps=1, cfg_scale=scale)
        expected = io["noise"] - (unconditional + scale * (positive - unconditional))
        torch.testing.assert_close(sample, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", CONDITION_MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_scale_1_is_the_positive_branch_exactly(kind: Kind, mode: str) -> None:
    model, io = trained_model(kind, mode), golden_io(kind)
    prefix = golden_prefix(model, io)
    one = sample_actions(model, prefix, io["state"], io["noise"], cfg_scale=1.0)
    assert torch.equal(one, sample_actions(model, prefix, io["state"], io["noise"], cfg_scale=7.0, is_positive=1))


@pytest.mark.parametrize("kind", KINDS)
def test_the_condition_token_is_seen_by_the_actions(kind: Kind) -> None:
    model, io = trained_model(kind, "token"), golden_io(kind)
    suffix = model.embed_suffix(io["state"], io["noise"], io["time"], torch.ones(3, dtype=torch.long))
    assert suffix.context.shape[1] == (2 if kind == "pi0" else 1)


def test_pi05_does_not_look_at_the_state() -> None:
    model, io = trained_model("pi05", "concat"), golden_io("pi05")
    prefix = golden_prefix(model, io)
    samples = [sample_actions(model, prefix, state, io["noise"]) for state in (io["state"], 5 * io["state"])]
    assert torch.equal(*samples)
