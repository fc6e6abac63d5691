from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from ript.estimate.memory import Options, estimate, find_architecture
from ript.training.build import arguments_of

CONFIG = Path(__file__).parents[1] / "config"
SUITES = ("spatial", "object", "goal", "long")
READ_BY_THE_BUILDER = {
    "betas",
    "ema_decay",
    "eval_only",
    "gradient_clip",
    "header_lr",
    "latent_lr",
    "lr",
    "lr_schedule",
    "num_denoise_steps",
    "optimizer_batch_size",
    "reuse_prefix",
    "value_lr",
    "warmup_steps",
    "weight_decay",
}


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONFIG), version_base="1.3"):
        return compose(name, list(overrides))


@pytest.mark.parametrize("algo", ["pi0_cfg_rl", "pi0_ppo", "pi0_grpo", "pi0_nft", "pi0_dsrl", "pi0_sft"])
def test_every_key_has_a_reader(algo: str) -> None:
    cfg = composed("train_base_rl_pi0_cfg", f"algo={algo}").algo
    nodes = {key for key, value in cfg.items() if isinstance(value, DictConfig) and "_target_" in value}
    taken = {name for key in nodes for name in arguments_of(cfg[key]["_target_"])}
    assert set(cfg) - nodes - taken - READ_BY_THE_BUILDER == set()


@pytest.mark.parametrize("algo", ["ppo", "grpo"])
@pytest.mark.parametrize("suite", SUITES)
def test_a_suites_clipped_configuration_is_the_published_one(algo: str, suite: str) -> None:
    cfg = composed(f"train_rl_pi0_{algo}_all_task_{suite}").algo
    assert cfg.lr == 5e-6 and cfg.train_expert_only and cfg.num_denoise_steps == 4
    assert cfg.rloo_batch_size * cfg.demo_batch_size * 8 == 512  # episodes an iteration on eight cards
    steps = {"spatial": (240, 5), "object": (240, 5), "goal": (320, 5), "long": (480, 10)}
    assert (cfg.max_episode_length, cfg.open_loop) == steps[suite]


@pytest.mark.parametrize("suite", SUITES)
def test_a_suites_configuration_is_for_a_full_size_checkpoint_on_one_card(suite: str) -> None:
    algo = composed(f"train_rl_pi0_cfg_all_task_{suite}").algo
    assert algo.lr <= 2.5e-5 and algo.header_lr <= 2.5e-5
    assert algo.rloo_batch_size * algo.demo_batch_size * 5 >= 2 * algo.update_batch_size  # several steps an iteration
    options = Options(batch_size=algo.optimizer_batch_size, dtype=algo.dtype)
    assert algo.train_expert_only and estimate(find_architecture("pi0"), "expert only", options).peak < 40 * 2**30


def test_dsrl_of_a_full_size_checkpoint_fits_a_card_of_24_gb() -> None:
    algo = composed("train_rl_pi0_dsrl_checkpoint").algo
    assert algo.freeze_policy and algo.rloo_batch_size * algo.demo_batch_size * 8 == 512
    options = Options(batch_size=algo.num_parallel_envs, dtype=algo.dtype, branches=1, heads=("latent", "value"))
    assert 1.05 * estimate(find_architecture("pi0"), "heads only", options).peak < 22 * 2**30


def test_dsrl_of_the_small_pi0_is_dsrl_on_its_own_tasks() -> None:
    cfg = composed("train_rl_pi0_dsrl_all_task_small_pi0")
    assert cfg.algo.sampler == "latent" and cfg.algo.freeze_policy and len(cfg.task.task_names_to_use) == 5
