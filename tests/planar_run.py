"""Whole training runs on the plane, configured by the project's own config files."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, open_dict

CONFIG_DIR = Path(__file__).parents[1] / "config"


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
        "logging.tensorboard": "false",
        "logging.report": "false",
        "paths.output_dir": run_dir.parent,
        "paths.run_name": run_dir.name,
    }
    lines = [f"{key}={value}" for key, value in small.items()]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("train_base_rl_pi0_cfg", [*lines, *overrides])
    with open_dict(cfg):
        cfg.task.benchmark_name = "planar"
    return cfg
