"""From the configuration to the parts of a run; every bad value is refused here, before anything slow starts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.checks import in_range, one_of, whole_number
from ript.distributed import Distributed
from ript.env_vars import read_env_settings


@dataclass
class Parts:
    """Everything the loop needs."""

    policy: PI0_OFT_Policy
    env_runner: Any
    rl_optimizer: Any
    rollout_generator: RolloutGenerator | None
    loader: Any
    optimizers: dict[str, Optimizer]
    schedulers: dict[str, LRScheduler]


def check_config(cfg: DictConfig) -> None:
    """Raises ValueError for values that no part's constructor looks at."""
    whole_number("seed", cfg.seed, 0)
    whole_number("num_threads", cfg.num_threads, 1)
    for key in ("n_steps", "rollout_steps", "save_interval", "log_interval", "cut", "keep_checkpoints"):
        whole_number(f"training.{key}", cfg.training[key], 1)
    whole_number("rollout.interval", cfg.rollout.interval, 1)
    whole_number("rollout.n_video", cfg.rollout.n_video, 0)
    in_range("rollout.cfg_scale", cfg.rollout.cfg_scale, 0)
    for beta in cfg.algo.betas:
        in_range("algo.betas", beta, 0, 1)
    for key in ("lr", "header_lr", "weight_decay"):
        in_range(f"algo.{key}", cfg.algo[key], 0)
    whole_number("algo.warmup_steps", cfg.algo.warmup_steps, 0)
    one_of("algo.lr_schedule", cfg.algo.lr_schedule, ("constant", "cosine"))
    in_range("algo.ema_decay", cfg.algo.ema_decay, 0, 1)
    one_of("logging.wandb.mode", cfg.logging.wandb.mode, ("disabled", "offline", "online"))


def build_parts(cfg: DictConfig, distributed: Distributed, resumed_policy: Path | None = None) -> Parts:
    """Builds the parts, the policy last: it is what takes long. Raises ValueError or FileNotFoundError.

    `resumed_policy` is the policy folder of the checkpoint that the run goes on from; it replaces the configuration's.
    """
    runner = _target(cfg.algo.env_runner)(settings=read_env_settings())
    parts: dict[str, Any] = {"distributed": distributed}
    if "rollout_generator" in cfg.algo:
        parts["rollout_generator"] = _target(cfg.algo.rollout_generator)(env_runner=runner, distributed=distributed)
        parts["reward_function"] = _target(cfg.reward_function)()
    rl_optimizer = _target(cfg.algo.rl_optimizer)(**parts)
    device_id = distributed.device.index if distributed.device.type == "cuda" else None
    start: dict[str, Any] = {}
    if resumed_policy is not None:  # an adapter's weights are where the run began
        start = {"pretrained_path": str(resumed_policy), "base_path": cfg.algo.pretrained_path, "random_weights": False}
    policy = _target(cfg.algo.policy)(device_id, **start)
    loader = _target(cfg.algo.loader)(runner=runner, policy=policy, distributed=distributed)
    if cfg.algo.get("demonstration_share"):
        rl_optimizer.batches.demonstrations = _target(cfg.algo.demonstration_windows)(runner=runner, policy=policy)
    runner.check_policy(policy)
    if cfg.algo.get("reuse_prefix") and not policy.prefix_is_frozen:
        raise ValueError("algo.reuse_prefix=true needs a frozen prefix: set algo.train_expert_only=true")
    distributed.broadcast(policy.model.state_dict().values())
    optimizers, schedulers = build_optimizers(cfg, policy)
    return Parts(policy, runner, rl_optimizer, parts.get("rollout_generator"), loader, optimizers, schedulers)


def _target(node: DictConfig) -> Any:
    """The class that `_target_` names, with the node's arguments bound.

    Runtime objects are passed by calling it: Hydra would turn dataclasses among its own arguments into configs.
    """
    return instantiate(node, _partial_=True, _convert_="all")


def build_optimizers(cfg: DictConfig, policy: PI0_OFT_Policy) -> tuple[dict[str, Optimizer], dict[str, LRScheduler]]:
    """AdamW and a schedule per parameter group: warm-up, then constant or cosine down to zero at the last step."""
    rates = {"model": cfg.algo.lr, "header": cfg.algo.header_lr}
    optimizers: dict[str, Optimizer] = {
        group: AdamW(policy.trainable_params[group], lr=rate, betas=cfg.algo.betas, weight_decay=cfg.algo.weight_decay)
        for group, rate in rates.items()
    }
    warmup, steps = cfg.algo.warmup_steps, cfg.training.n_steps
    schedulers: dict[str, LRScheduler] = {}
    for group, optimizer in optimizers.items():
        phases: list[LRScheduler] = [LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)]
        if cfg.algo.lr_schedule == "cosine":
            phases.append(CosineAnnealingLR(optimizer, T_max=max(steps - warmup, 1)))
        else:
            phases.append(LinearLR(optimizer, 1.0, total_iters=1))
        schedulers[group] = SequentialLR(optimizer, phases, milestones=[warmup])
    return optimizers, schedulers
