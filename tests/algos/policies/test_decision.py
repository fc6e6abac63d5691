"""A decision and its score: the ratio is 1 and the value the old one, exactly, while the weights are the same."""

from typing import Any

import numpy as np
import pytest
import torch
from samples import observation
from torch import Generator, Tensor

from ript.algos.policies.decision import decide
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Flow, Ode
from ript.flow.stochastic import Cps, Noise, Sde
from ript.models.pi0.heads import LogStdHead, ValueHead

KINDS = ("sde", "noise", "cps")


def make(kind: str, policy: PI0_OFT_Policy, **options: Any) -> GaussianSteps:
    options = {"action_dim": 7, "num_steps": 3} | options
    if kind == "noise":
        return Noise(log_std=LogStdHead(policy.model.expert_hidden_size), **options)
    return {"sde": Sde, "cps": Cps}[kind](**options)


def observations(count: int = 4) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return collate_observations([observation(rng) for _ in range(count)])


def noise(policy: PI0_OFT_Policy) -> Tensor:
    return torch.randn(4, policy.chunk_size, 32, generator=Generator().manual_seed(0))


def generators() -> list[Generator]:
    return [Generator().manual_seed(row) for row in range(4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joint", [False, True])
def test_the_first_score_is_the_decision_exactly(tiny_policy: PI0_OFT_Policy, kind: str, joint: bool) -> None:
    torch.manual_seed(0)
    sampler, critic = make(kind, tiny_policy, joint_logprob=joint), ValueHead(tiny_policy.model.expert_hidden_size)
    decision = tiny_policy.act(observations(), noise(tiny_policy), generators(), sampler, critic)
    assert decision.actions.shape == (4, tiny_policy.chunk_size, 7)
    assert decision.chain is not None
    assert torch.equal(decision.actions, decision.chain.x[:, -1, :, :7])
    again = tiny_policy.score(tiny_policy.encode(observations()), decision.chain, sampler, critic)
    assert torch.equal(again.log_prob, decision.chain.log_prob)
    assert torch.equal(again.value, decision.value)
    assert not decision.value.requires_grad and again.value.requires_grad and again.log_prob.requires_grad


def test_a_step_up_the_gradient_makes_the_decision_likelier(tiny_policy: PI0_OFT_Policy) -> None:
    sampler = make("sde", tiny_policy)
    decision = tiny_policy.act(observations(), noise(tiny_policy), generators(), sampler)

    def log_prob() -> Tensor:
        encoded = tiny_policy.encode(observations())
        return tiny_policy.score(encoded, decision.chain, sampler).log_prob.double().sum()

    before, rate, squares = log_prob(), 1e-9, 0.0
    before.backward()
    with torch.no_grad():
        for parameter in tiny_policy.model.parameters():
            if parameter.grad is not None:
                parameter += rate * parameter.grad
                squares += float(parameter.grad.square().sum())
    assert float((log_prob() - before).detach()) == pytest.approx(rate * squares, rel=0.1)


@pytest.mark.parametrize("joint", [False, True])
def test_the_value_is_read_where_the_decision_is_scored(joint: bool) -> None:
    sampler = Sde(action_dim=7, num_steps=3, joint_logprob=joint, ignore_last=True)

    def flow(x: Tensor, time: Tensor) -> Flow:
        return Flow(x, time[:, None, None])

    decision = decide(sampler, flow, torch.randn(4, 5, 32), generators(), lambda hidden: hidden[:, 0, 0])
    read = torch.full((4,), (1 + 2 / 3) / 2) if joint else 1 - decision.chain.step / 3
    torch.testing.assert_close(decision.value, read)


def test_euler_steps_decide_as_select_action_does(tiny_policy: PI0_OFT_Policy) -> None:
    decision = tiny_policy.act(observations(), noise(tiny_policy), [], Ode(tiny_policy.num_steps))
    assert decision.chain is None and decision.value is None
    assert torch.equal(decision.actions, tiny_policy.select_action(observations(), noise=noise(tiny_policy)))


def test_a_detached_critic_teaches_the_expert_nothing(tiny_policy: PI0_OFT_Policy) -> None:
    sampler, critic = make("sde", tiny_policy), ValueHead(tiny_policy.model.expert_hidden_size)
    decision = tiny_policy.act(observations(), noise(tiny_policy), generators(), sampler)
    encoded, weight = tiny_policy.encode(observations()), tiny_policy.model.action_out_proj.weight
    for value_of, learns in ((lambda hidden: critic(hidden.detach()), False), (critic, True)):
        tiny_policy.model.zero_grad()
        tiny_policy.score(encoded, decision.chain, sampler, value_of).value.sum().backward(retain_graph=True)
        expert = [parameter.grad for parameter in tiny_policy.model.model.dit.parameters()]
        assert any(gradient is not None and bool(gradient.any()) for gradient in expert) is learns
        assert weight.grad is None  # the critic reads what the velocity is read from, not the velocity
