"""The proof that they learn: each algorithm's own configuration, generator, runner and learner, a tiny π0, one core."""

import json
from pathlib import Path

import planar
import pytest
import torch
from omegaconf import DictConfig
from planar_run import planar_config

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.distributed import Distributed
from ript.report.run_folder import DIAGNOSES
from ript.training.loop import Trainer

MAY_BE_SAID = {"all_groups_failed", "all_groups_solved", "all_groups_uniform"}
"""Of an iteration of a run that learns; anything else would be a false alarm."""
COMMON = (
    "algo.num_parallel_envs=16",
    "algo.optimizer_batch_size=64",
    "algo.update_batch_size=32",
    "task.task_names_to_use=[reach_the_right]",
    "rollout.enabled=false",
    "training.save_interval=1000",
)
GROUPS = ("algo.rloo_batch_size=16", "algo.demo_batch_size=2")
FLOW = (
    "algo.num_epochs=4",
    "algo.lr=1e-3",
    "algo.header_lr=1e-3",
    "algo.lr_schedule=cosine",
    "algo.num_denoise_steps=5",
)
CLIPPED = ("algo.open_loop=10", "algo.lr=3e-4", "algo.header_lr=3e-4", "algo.update_batch_size=64")
CRITIC = ("algo.rloo_batch_size=1", "algo.demo_batch_size=32")
NOISE = ("algo.sampler=noise", "algo.noise_logvar_range=[0.2,0.5]", "algo.entropy_coef=0.005")
GAE = ("algo.advantage=gae", "algo.add_value_head=true", "algo.open_loop=25", "algo.enable_dynamic_sampling=false")
STEERED = ("algo.open_loop=5", "algo.max_episode_length=30", "algo.latent_lr=1e-3", "algo.num_denoise_steps=5")
slow = pytest.mark.slow
RUNS = {
    "cfg_flow": ("algo=pi0_cfg_rl", *GROUPS, *FLOW, "training.n_steps=40"),
    "nft": ("algo=pi0_nft", *GROUPS, *FLOW, "training.n_steps=20"),
    "ppo_sde": ("algo=pi0_ppo", *CLIPPED, *CRITIC, "training.n_steps=20"),
    "grpo": ("algo=pi0_grpo", *GROUPS, *CLIPPED, "training.n_steps=35"),
    "ppo_noise": ("algo=pi0_ppo", *CLIPPED, *CRITIC, *NOISE, "training.n_steps=20"),
    "dsrl": ("algo=pi0_dsrl", *STEERED, *CRITIC, "training.n_steps=12"),
    "cfg_flow_gae": ("algo=pi0_cfg_rl", *GAE, *GROUPS, *FLOW, "training.n_steps=30"),
}
SLOW = ("dsrl", "ppo_noise", "cfg_flow_gae", "ppo_sde", "grpo")


def success_rate(policy: PI0_OFT_Policy, algo: DictConfig) -> float:
    runner = planar.planar_runner(
        rollouts_per_env=100,
        seed=1234,
        task_names_to_use=["reach_the_right"],
        num_parallel_envs=50,
        open_loop=algo.open_loop,
        max_episode_length=algo.max_episode_length,
    )
    return runner.run(policy)["rollout"]["overall_success_rate"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=slow) if name in SLOW else name for name in RUNS])
def test_it_takes_a_tiny_pi0_from_20_to_80_percent_success_without_a_false_alarm(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = planar.write_tiny_policy(tmp_path / "policy")
    cfg = planar_config(tmp_path / "run", folder, *COMMON, *RUNS[name])
    trainer = Trainer(cfg, Distributed())
    before = success_rate(trainer.parts.policy, cfg.algo)
    trainer.train()
    after = success_rate(trainer.parts.policy, cfg.algo)
    trainer.close()
    print(f"success before {before:.0%}, after {after:.0%}")
    assert before <= 0.20
    assert after >= 0.80
    diagnoses = tmp_path / "run" / DIAGNOSES
    lines = diagnoses.read_text().splitlines() if diagnoses.exists() else []
    assert {json.loads(line)["name"] for line in lines} <= MAY_BE_SAID
