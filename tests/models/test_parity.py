"""The same numbers as openpi's own PyTorch code: see `tests/goldens/README.md`."""

from pathlib import Path

import pytest
import torch
from golden_folders import KINDS, LAYOUTS, golden_io, golden_prefix, write_foreign_folder

from ript.flow.path import path_sample
from ript.models.pi0.checkpoint import find_policy_card, load_model
from ript.models.pi0.conditioning import POSITIVE
from ript.models.pi0.config import Kind
from ript.models.pi0.guidance import sample_actions
from ript.models.pi0.modeling import Pi0FlowModel

EVERYWHERE = [
    pytest.param(kind, layout, attention, id=f"{kind}-{layout}-{attention}")
    for kind in KINDS
    for layout in LAYOUTS
    for attention in ("eager", "sdpa")
    if layout == "openpi" or attention == "sdpa"
]


def load(folder: Path, kind: Kind, layout: str, attention: str = "sdpa", mode: str = "concat") -> Pi0FlowModel:
    path = write_foreign_folder(folder, kind, layout)
    model, _ = load_model(path, find_policy_card(path, mode))
    model.set_attn_implementation(attention)
    return model.eval()


@pytest.mark.parametrize(("kind", "layout", "attention"), EVERYWHERE)
def test_samples_are_openpis(tmp_path: Path, kind: Kind, layout: str, attention: str) -> None:
    model, io = load(tmp_path, kind, layout, attention), golden_io(kind)
    prefix = golden_prefix(model, io)
    for steps in (10, 5):
        sample = sample_actions(model, prefix, io["state"], io["noise"], num_steps=steps)
        torch.testing.assert_close(sample, io[f"sample_{steps}"], atol=5e-5, rtol=0)


@pytest.mark.parametrize(("kind", "layout", "attention"), EVERYWHERE)
def test_losses_are_openpis(tmp_path: Path, kind: Kind, layout: str, attention: str) -> None:
    model, io = load(tmp_path, kind, layout, attention), golden_io(kind)
    x_t, u_t = path_sample(io["actions"], io["noise"], io["time"])
    is_positive = torch.full((3,), POSITIVE)
    velocity = model.velocity(golden_prefix(model, io), io["state"], x_t, io["time"], is_positive)
    torch.testing.assert_close((velocity - u_t).square(), io["loss"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_concat_and_bias_start_as_the_base_model_exactly(tmp_path: Path, kind: Kind) -> None:
    """Bias adds zero; concat multiplies by one and adds zero. In both branches, so all four are the same number."""
    io = golden_io(kind)
    x_t, _ = path_sample(io["actions"], io["noise"], io["time"])
    velocities = []
    for mode in ("bias", "concat"):
        model = load(tmp_path / mode, kind, "openpi", mode=mode)
        prefix = golden_prefix(model, io)
        bare = model.embed_action_time(io["state"], x_t, io["time"])
        for branch in (0, 1):
            is_positive = torch.full((3,), branch)
            suffix = model.embed_suffix(io["state"], x_t, io["time"], is_positive)
            assert torch.equal(suffix.context, bare.context)
            assert torch.equal(suffix.actions, bare.actions)
            velocities.append(model.velocity(prefix, io["state"], x_t, io["time"], is_positive))
    assert all(torch.equal(velocity, velocities[0]) for velocity in velocities)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_tokens_change_nothing(tmp_path: Path, kind: Kind) -> None:
    model, io = load(tmp_path, kind, "openpi"), golden_io(kind)
    changed = io | {"tokens": torch.where(io["token_mask"], io["tokens"], 7)}
    samples = [sample_actions(model, golden_prefix(model, x), io["state"], io["noise"]) for x in (io, changed)]
    assert torch.equal(*samples)
