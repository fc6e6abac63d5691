"""A decision and its score: the ratio is 1 and the value the old one, exactly, while the weights are the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from samples import observation
from torch import Generator, Tensor

from ript.algos.policies.actor import Actor
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.flow.decision import decide
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Flow, Ode
from ript.flow.stochastic import Cps, Noise, Sde
from ript.models.pi0.heads import HeadSettings, LogStdHead

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


def with_critic(folder: Path, **settings: Any) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(folder), heads=HeadSettings(add_value_head=True, **settings))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("after_vlm", [False, True])
def test_the_first_score_is_the_decision_exactly(
    tiny_policy_folder: Path, kind: str, joint: bool, after_vlm: bool
) -> None:
    torch.manual_seed(0)
    tiny_policy = with_critic(tiny_policy_folder, value_after_vlm=after_vlm)
    sampler = make(kind, tiny_policy, joint_logprob=joint)
    decision = tiny_policy.act(observations(), noise(tiny_policy), generators(), sampler)
    assert decision.actions.shape == (4, tiny_policy.chunk_size, 7)
    assert decision.chain is not None
    assert torch.equal(decision.actions, decision.chain.x[:, -1, :, :7])
    again = tiny_policy.score(tiny_policy.encode(observations()), decision.chain, sampler)
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


def test_a_detached_critic_teaches_the_expert_nothing(tiny_policy_folder: Path) -> None:
    for detached in (True, False):
        policy = with_critic(tiny_policy_folder, detach_critic_input=detached)
        decision = policy.act(observations(), noise(policy), generators(), make("sde", policy))
        value = policy.score(policy.encode(observations()), decision.chain, make("sde", policy)).value
        value.sum().backward()
        expert = [parameter.grad for parameter in policy.model.model.dit.parameters()]
        assert any(gradient is not None and bool(gradient.any()) for gradient in expert) is not detached
        assert policy.model.action_out_proj.weight.grad is None  # the critic reads what the velocity is read from
        assert all(parameter.grad is not None for parameter in policy.trainable_params["value"])


def test_a_critic_after_the_vlm_sees_the_observation_and_not_the_noise(tiny_policy_folder: Path) -> None:
    policy = with_critic(tiny_policy_folder, value_after_vlm=True)
    seen = observations()
    sampler = make("sde", policy)
    first, second = (policy.act(seen, noise(policy) * scale, generators(), sampler).value for scale in (1, 2))
    assert torch.equal(first, second)
    assert len(set(first.tolist())) == 4
    longer = {**seen, "prompt": [prompt + " now" for prompt in seen["prompt"]]}
    assert not torch.allclose(first, policy.act(longer, noise(policy), generators(), sampler).value, atol=0)


def test_guidance_is_seen_by_no_critic_and_scored_by_no_sampler(tiny_policy_folder: Path) -> None:
    policy = with_critic(tiny_policy_folder)
    assert policy.act(observations(), noise(policy), cfg_scale=1.5).value is None
    assert policy.act(observations(), noise(policy)).value is not None
    with pytest.raises(ValueError, match=r"cfg_scale=1\.5"):
        Actor(policy, make("sde", policy)).act(observations(), noise(policy), generators(), cfg_scale=1.5)


def test_one_step_per_batch_is_the_first_rows(tiny_policy: PI0_OFT_Policy) -> None:
    options = {"num_steps": 10}
    own = tiny_policy.act(observations(), noise(tiny_policy), generators(), make("sde", tiny_policy, **options)).chain
    shared = make("sde", tiny_policy, one_step_per_batch=True, **options)
    steps = tiny_policy.act(observations(), noise(tiny_policy), generators(), shared).chain.step
    assert len(set(own.step.tolist())) > 1
    assert steps.tolist() == [int(own.step[0])] * 4
