"""What must hold on a CUDA device: the same numbers as on the CPU, and a run that goes on as it was."""

from functools import partial
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import samples
import torch

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.losses.ppo import PPOLoss
from ript.algos.policies.actor import Exploration
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.rollout import split_decision
from ript.models.pi0.dims import PADDED_DIM
from ript.storage.batch import Batch
from ript.storage.windows import Window

DEVICE = 0
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")]


def policies(folder: Path, **options: Any) -> tuple[PI0_OFT_Policy, PI0_OFT_Policy]:
    """The same policy on the CPU and on the GPU, where `options` are of the latter."""
    return PI0_OFT_Policy(pretrained_path=str(folder)), PI0_OFT_Policy(DEVICE, str(folder), **options)


def observations(count: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return collate_observations([samples.observation(rng) for _ in range(count)])


def chunks(policy: PI0_OFT_Policy, cfg_scale: float = 1.0) -> torch.Tensor:
    noise = torch.randn(3, policy.chunk_size, PADDED_DIM, generator=torch.Generator().manual_seed(0))
    return policy.select_action(observations(), cfg_scale=cfg_scale, noise=noise).float().cpu()


def gradient(policy: PI0_OFT_Policy) -> torch.Tensor:
    batch = Batch.of(jobs.make_optimizer().make_windows(policy, jobs.make_episodes()[:2], jobs.ADVANTAGES[:2]))
    CFGFlowLoss()(policy, batch, (0, 0, 0, 0)).total.sum().backward()
    parameters = [p for group in policy.trainable_params.values() for p in group]
    return torch.cat([p.grad.flatten().cpu() for p in parameters if p.grad is not None])


@pytest.mark.parametrize("cfg_scale", [1.0, 2.0])
def test_actions_are_those_of_the_cpu(tiny_policy_folder: Path, cfg_scale: float) -> None:
    cpu, gpu = policies(tiny_policy_folder)
    torch.testing.assert_close(chunks(gpu, cfg_scale), chunks(cpu, cfg_scale), atol=1e-3, rtol=1e-3)


def test_bfloat16_stores_the_frozen_backbone_in_half_and_acts_nearly_the_same(tiny_policy_folder: Path) -> None:
    cpu, gpu = policies(tiny_policy_folder, dtype="bfloat16", train_expert_only=True)
    assert {p.dtype for p in gpu.model.model.vlm.parameters()} == {torch.bfloat16}
    expected, found = chunks(cpu), chunks(gpu)
    assert 0 < float((found - expected).norm() / expected.norm()) < 0.05


def test_compiled_denoising_acts_the_same(tiny_policy_folder: Path) -> None:
    _, eager = policies(tiny_policy_folder)
    _, compiled = policies(tiny_policy_folder, compile=True)
    torch.testing.assert_close(chunks(compiled, 2.0), chunks(eager, 2.0), atol=1e-3, rtol=1e-3)


def test_the_gradient_of_cfg_flow_is_that_of_the_cpu(tiny_policy_folder: Path) -> None:
    cpu, gpu = map(gradient, policies(tiny_policy_folder))
    assert float((gpu - cpu).norm() / cpu.norm()) < 1e-3


def test_ppo_sees_a_ratio_of_one_before_the_first_step(tiny_policy_folder: Path) -> None:
    _, policy = policies(tiny_policy_folder)
    sampler = Exploration(num_denoise_steps=4).at(0, policy)
    noise = torch.randn(3, policy.chunk_size, PADDED_DIM)
    generators = [torch.Generator().manual_seed(row) for row in range(3)]
    observed = [samples.observation(np.random.default_rng(row)) for row in range(3)]
    decisions = split_decision(policy.act(collate_observations(observed), noise, generators, sampler))
    actions, is_pad = np.zeros((policy.chunk_size, 7), np.float32), np.zeros(policy.chunk_size, bool)
    windows = [
        Window(observation, actions, is_pad, 1.0, row, 0, decision=decision)
        for row, (observation, decision) in enumerate(zip(observed, decisions, strict=True))
    ]
    terms = partial(PPOLoss(), sampler=sampler)(policy, Batch.of(windows), (0, 0, 0, 0))
    assert torch.all(terms.approx_kl.abs() < 1e-4) and torch.all(terms.clip_fraction == 0)


def test_a_restored_learner_has_the_devices_random_state(tiny_policy_folder: Path) -> None:
    _, policy = policies(tiny_policy_folder)
    learner = jobs.make_learner(policy)
    learner.distributed.device = policy.device
    state = learner.state_dict()
    expected = torch.randn(4, device=policy.device)
    learner.load_state_dict(state)
    assert torch.equal(torch.randn(4, device=policy.device), expected)
