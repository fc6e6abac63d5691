"""Euler steps, and the velocity that the network gives them."""

import ast
from pathlib import Path

import pytest
import torch
from golden_folders import KINDS, golden_architecture, golden_io, golden_prefix
from torch import Tensor

import ript.flow
from ript.flow.samplers import Flow, Ode
from ript.models.pi0.config import Kind
from ript.models.pi0.guidance import branch_flow, guided_flow
from ript.models.pi0.modeling import Pi0FlowModel


def test_one_step_along_a_straight_path_reaches_the_data() -> None:
    noise, actions = torch.randn(2, 3, 5, 7)
    reached, chain = Ode(1).sample(lambda x, time: Flow(noise - actions), noise)
    torch.testing.assert_close(reached, actions)
    assert chain is None


def test_the_times_go_from_noise_down_to_the_last_step_before_the_data() -> None:
    times: list[Tensor] = []

    def flow(x: Tensor, time: Tensor) -> Flow:
        times.append(time)
        return Flow(torch.zeros_like(x))

    Ode(4).sample(flow, torch.randn(3, 5, 7))
    torch.testing.assert_close(torch.stack(times), torch.tensor([1, 0.75, 0.5, 0.25])[:, None].expand(4, 3))


@pytest.mark.parametrize("steps", [3, 10])
def test_euler_steps_of_the_network_are_the_spelled_out_loop_bit_for_bit(steps: int) -> None:
    torch.manual_seed(0)
    model, io = Pi0FlowModel(golden_architecture("pi0")), golden_io("pi0")
    prefix, state, x = golden_prefix(model, io), io["state"], io["noise"]
    with torch.no_grad():
        sample, _ = Ode(steps).sample(branch_flow(model, prefix, state), x)
        for step in range(steps):
            time = torch.full((3,), 1 - step / steps)
            x = x - model.velocity(prefix, state, x, time, torch.ones(3, dtype=torch.long)) / steps
    assert torch.equal(sample, x)


@pytest.mark.parametrize("kind", KINDS)
def test_the_hidden_output_is_what_the_velocity_is_read_from(kind: Kind) -> None:
    torch.manual_seed(0)
    model, io = Pi0FlowModel(golden_architecture(kind)), golden_io(kind)
    flow = branch_flow(model, golden_prefix(model, io), io["state"])(io["noise"], io["time"])
    assert flow.hidden is not None
    assert flow.hidden.shape == (*io["noise"].shape[:2], model.expert_hidden_size)
    assert torch.equal(model.action_out_proj(flow.hidden), flow.velocity)


def test_a_branch_that_is_neither_0_nor_1_is_refused() -> None:
    model, io = Pi0FlowModel(golden_architecture("pi0")), golden_io("pi0")
    with pytest.raises(ValueError, match=r"is_positive=2 is not valid. Valid: None, 0, 1"):
        guided_flow(model, golden_prefix(model, io), io["state"], is_positive=2)


def test_euler_steps_refuse_to_be_scored_and_to_be_none() -> None:
    with pytest.raises(TypeError, match="no log-probability"):
        Ode(4).log_prob(lambda x, time: Flow(x), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_steps=0 is not valid"):
        Ode(0)


def test_the_mathematics_of_the_flow_imports_no_network() -> None:
    for path in Path(ript.flow.__file__).parent.glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        ours = [name for name in names if name.startswith("ript")]
        assert all(name.startswith(("ript.flow", "ript.checks")) for name in ours), (path.name, ours)
