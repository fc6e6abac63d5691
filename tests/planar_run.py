"""Whole training runs on the plane, configured by the project's own config files."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict
from safetensors.torch import load_file
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations.window_loader import WindowLoader
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.storage.windows import Window, WindowCutter
from ript.training.checkpoint import complete_checkpoints
from ript.training.loop import Trainer

CONFIG_DIR = Path(__file__).parents[1] / "config"
EVERYTHING = (
    "algo.ema_decay=0.5",
    "algo.replay_iterations=3",
    "algo.update_batch_size=8",
    "algo.positive_share=0.5",
    "algo.demonstration_share=0.25",
    "algo.demonstration_windows._target_=planar_run.demonstrated",
    "algo.shift=1",
    "algo.jitter=0.1",
    "algo.num_epochs=2",
    "algo.lr_schedule=cosine",
    "rollout.enabled=false",
    "training.save_interval=2",
    "algo.pipeline_stage_num=2",
)
"""Every part that has a state; environments in two stages."""
SFT = (
    "algo=pi0_sft",
    "algo.loader._target_=planar_run.demonstration_loader",
    "algo.batch_size=4",
    "algo.warmup_steps=1",
)
PPO = (
    "algo=pi0_ppo",
    "algo.noise_anneal=[0.3,3]",
    "algo.critic_warmup_steps=5",
    "algo.episode_weighted=true",
    "algo.open_loop=20",
    "algo.update_batch_size=8",
    "algo.shift=1",
    "algo.lr_schedule=cosine",
    "rollout.enabled=false",
)
NOISE = ("algo=pi0_ppo", "algo.sampler=noise", "algo.entropy_coef=0.005", "algo.value_after_vlm=true", *PPO[4:])
GRPO = ("algo=pi0_grpo", "algo.open_loop=20", "algo.update_batch_size=8", "rollout.enabled=false")
NFT = ("algo=pi0_nft", "algo.ema_decay=0.5", "algo.update_batch_size=8", "algo.num_epochs=2", "rollout.enabled=false")
DSRL = (
    "algo=pi0_dsrl",
    "algo.open_loop=20",
    "algo.update_batch_size=8",
    "algo.critic_warmup_steps=2",
    "algo.dsrl_hidden_dims=[32,32]",
    "rollout.enabled=false",
)
GAE = (*EVERYTHING, "algo.advantage=gae", "algo.add_value_head=true", "algo.observe_end=true", "algo.open_loop=25")
BESIDE = (
    "algo.rfc_enabled=true",
    "algo.reflow_mask_type=advantage_topk",
    "algo.enable_sft_co_train=true",
    "algo.co_train_windows._target_=planar_run.demonstrated",
    "~algo.co_train_windows.demonstrations",
    f"algo.sft_data_path={Path(__file__).parent}",
)
"""Reflow and co-training, on made-up demonstrations."""
ALGORITHMS: dict[str, tuple[str, ...]] = {
    "cfg_flow": EVERYTHING,
    "gae": GAE,
    "sft": SFT,
    "ppo": PPO,
    "noise": NOISE,
    "grpo": GRPO,
    "nft": NFT,
    "cfg_flow_beside": (*EVERYTHING, *BESIDE),
    "ppo_beside": (*PPO, *BESIDE),
    "dsrl": DSRL,
    "dsrl_beside": (*DSRL, *BESIDE, "algo.freeze_policy=false", "algo.latent_repeat=false"),
}


class Effort:
    """A reward that differs between any two rollouts."""

    def compute_reward(self, i: int, episode: Episode, batch: Mapping[str, Any]) -> float:
        return float(np.abs(episode.actions).mean())


def planar_config(run_dir: Path, policy_folder: Path | None, *overrides: str) -> DictConfig:
    """The base configuration with the plane for LIBERO: everything else is what users run."""
    small = {
        "algo.env_runner._target_": "planar.PlanarRunner",
        "algo.pretrained_path": policy_folder or "null",
        "algo.num_parallel_envs": 8,
        "algo.image_size": 28,
        "algo.num_denoise_steps": 2,
        "algo.rloo_batch_size": 4,
        "algo.demo_batch_size": 2,
        "task.task_names_to_use": "null",
        "rollout.rollouts_per_env": 4,
        "training.n_steps": 4,
        "training.save_interval": 2,
        "logging.use_tqdm": "false",
        "logging.backends": "[]",
        "logging.report": "false",
        "paths.output_dir": run_dir.parent,
        "paths.run_name": run_dir.name,
    }
    if "algo=pi0_sft" in overrides:  # it has no rollouts
        del small["algo.rloo_batch_size"], small["algo.demo_batch_size"]
    lines = [f"{key}={value}" for key, value in small.items()]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train_base_rl_pi0_cfg", [*lines, *overrides])
    with open_dict(cfg):
        cfg.task.benchmark_name = "planar"
    return cfg


def run_on(distributed: Distributed, cfg: DictConfig, dies_after: int | None = None) -> None:
    """Trains on ranks that are there already; raises RuntimeError after an iteration, before anything is saved."""
    torch.manual_seed(cfg.seed)
    trainer = Trainer(cfg, distributed)
    end_iteration = trainer.parts.learner.end_iteration

    def dying() -> dict[str, float]:
        if trainer.step + 1 == dies_after:
            raise RuntimeError("killed")
        return end_iteration()

    trainer.parts.learner.end_iteration = dying  # type: ignore[method-assign]
    try:
        trainer.train()
    finally:
        trainer.close()


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    """Of the run's newest checkpoint."""
    return weights_in(complete_checkpoints(run_dir / "checkpoints")[-1] / "policy")


def assert_equal_weights(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    """Of the network and of its heads."""
    files = {path.stem: load_file(path) for path in folder.glob("*.safetensors")}
    return {f"{stem}/{name}": tensor for stem, tensors in files.items() for name, tensor in tensors.items()}


def demonstrated(policy: PI0_OFT_Policy) -> list[Window]:
    """Windows of made-up demonstrations."""
    return [w for i in range(3) for w in WindowCutter().cut(episode(70, seed=i, episode_id=i), 1.0, policy.norm_stats)]


def demonstrated_larger(policy: PI0_OFT_Policy) -> list[Window]:
    """The same with images of twice the side."""
    return [replace(window, observation=_enlarged(window.observation)) for window in demonstrated(policy)]


def _enlarged(observation: dict[str, Any]) -> dict[str, Any]:
    images = {name: image.repeat(2, axis=0).repeat(2, axis=1) for name, image in observation["image"].items()}
    return {**observation, "image": images}


def demonstration_loader(policy: PI0_OFT_Policy, distributed: Distributed, batch_size: int, seed: int) -> WindowLoader:
    """Batches of them."""
    return WindowLoader(demonstrated(policy), batch_size, seed, distributed)  # type: ignore[arg-type]
