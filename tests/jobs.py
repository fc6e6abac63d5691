"""What tests run on every rank; importable by spawned processes."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import planar
import torch
from omegaconf import OmegaConf
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.algos.rl_optimizers.contexts import ContextLoader
from ript.algos.rl_optimizers.file_counter import make_counter, reset_global_counter
from ript.algos.rl_optimizers.fit_metrics import window_range_sums
from ript.algos.rl_optimizers.metrics import rollout_metrics, update_metrics
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.training.build import build
from ript.training.learner import Learner

PARTS = {
    "rollout_generator": "ript.algos.rl_optimizers.rollout_generator.RolloutGenerator",
    "estimator": "ript.algos.rl_optimizers.advantage_estimator.AdvantageEstimator",
    "weighting": "ript.algos.advantages.PositiveWeights",
    "cutter": "ript.storage.windows.WindowCutter",
    "loss": "ript.algos.losses.cfg_flow.CFGFlowLoss",
    "storage": "ript.storage.rollout_storage.RolloutStorage",
    "augmentation": "ript.storage.augment.Augmentation",
    "rl_optimizer": "ript.algos.rl_optimizers.cfg_flow_optimizer_pi0.CFGFlowOptimizerPI0",
}
LENGTHS = (50, 73, 20, 120, 31, 50)
ADVANTAGES = np.array([1.0, -1 / 3, -1 / 3, -1 / 3, 0.5, -0.5])


def make_optimizer(distributed: Distributed | None = None, **options: Any) -> CFGFlowOptimizerPI0:
    """An optimizer on the plane; each part takes its options by name, as from the configuration."""
    distributed = distributed or Distributed()
    scope = {"use_tqdm": False, "distributed": distributed, "runner": planar.planar_runner(num_parallel_envs=4)}
    scope |= {"env_runner": scope["runner"], "reward_function": SuccessReward(), "shift": 0, "jitter": 0.0, **options}
    for name, target in PARTS.items():
        scope[name] = build(OmegaConf.create({"_target_": target}), scope)
    return scope["rl_optimizer"]


def make_learner(policy: PI0_OFT_Policy, distributed: Distributed | None = None, **options: Any) -> Learner:
    optimizers = {name: torch.optim.AdamW(group, lr=1e-3) for name, group in policy.trainable_params.items()}
    return Learner(policy, optimizers, distributed=distributed, **options)


def make_episodes() -> list[Episode]:
    return [episode(length, seed=i, success=ADVANTAGES[i] > 0, episode_id=i) for i, length in enumerate(LENGTHS)]


def gradient_of_share(distributed: Distributed, folder: Path, shares: list[list[int]], options: dict[str, Any]) -> Any:
    """Gradient (flat) of all gradient steps of an epoch on episodes of which this rank has a share, and the sums of
    their losses over ranks. `options` are those of the optimizer's parts and `optimizer_batch_size`."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    size = options.get("optimizer_batch_size", 8)
    if options.get("demonstration_share"):
        parts = make_optimizer(distributed)
        options = {**options, "demonstration_windows": parts.make_windows(policy, make_episodes()[:3], ADVANTAGES[:3])}
    optimizer = make_optimizer(distributed, **options)
    episodes, own = make_episodes(), shares[distributed.rank]
    windows = optimizer.make_windows(policy, [episodes[i] for i in own], ADVANTAGES[own])
    optimizer.storage.add(windows, optimizer.weights(windows, ADVANTAGES[own]))
    learner = make_learner(policy, distributed, optimizer_batch_size=size)
    sums: dict[str, float] = defaultdict(float)
    for step, batch in enumerate(optimizer.storage.mini_batches((0, 0, 0))):
        seed = (0, 0, 0, step)
        learner.accumulate(optimizer.loss, optimizer.augmentation.batch(batch, seed), 1.0, seed, sums)
    return summed_gradient(policy, distributed), distributed.sum(sums)


def summed_gradient(policy: PI0_OFT_Policy, distributed: Distributed) -> np.ndarray:
    """The gradient (flat) of everything trained, over all ranks."""
    parameters = [p for group in policy.trainable_params.values() for p in group]
    distributed.sum_gradients(parameters)
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]).numpy()


def optimize_on_plane(distributed: Distributed, folder: Path, steps: int, options: dict[str, Any]) -> Any:
    """Metrics of some iterations on this rank, and the first weights of the result."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder), num_steps=2)
    optimizer = make_optimizer(distributed, **options)
    loader = ContextLoader([0, 1], optimizer.rollout_generator.demo_batch_size, distributed=distributed)
    iterator = iter(loader)
    learner = make_learner(policy, distributed)
    metrics = [optimizer.optimize(policy, next(iterator), learner, iterator, loader) for _ in range(steps)]
    return metrics, policy.model.action_out_proj.weight.detach().numpy()


def iterate_with_seeds(distributed: Distributed, folder: Path, seeds: Sequence[int]) -> Any:
    """An iteration per seed with options that vary: this rank's windows and those of all, and the last weights."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder), num_steps=2)
    learner, counts = make_learner(policy, distributed), []
    for seed in seeds:
        options = {"enable_dynamic_sampling": seed % 3 > 0, "early_stop_percentage": (1.0, 0.5)[seed % 2]}
        sizes = {
            "rloo_batch_size": 2 + seed % 3,
            "demo_batch_size": 2,
            "max_groups_per_step": 3,
            "update_batch_size": 4,
        }
        optimizer = make_optimizer(distributed, seed=seed, positive_share=(None, 0.5)[seed % 2], **sizes, **options)
        loader = ContextLoader([0, 1], 2, seed=seed, distributed=distributed)
        iterator = iter(loader)
        metrics = optimizer.optimize(policy, next(iterator), learner, iterator, loader)
        counts.append((len(optimizer.storage.windows), int(metrics["num_windows"])))
    return counts, policy.model.action_out_proj.weight.detach().numpy()


def count_together(distributed: Distributed, times: int) -> tuple[int, int]:
    """The shared counter after this rank added 1 `times` times and all ranks are done; then after a reset."""
    counter = make_counter(distributed)
    reset_global_counter(counter, distributed)
    for _ in range(times):
        counter.update()
    distributed.barrier()
    total = counter.get()
    reset_global_counter(counter, distributed)
    return total, counter.get()


def reduce_metrics(distributed: Distributed) -> tuple[dict[str, float], int]:
    """Rank r adds r + 1 to `shared`, and 5 under a key of its own."""
    sums = distributed.sum({"shared": distributed.rank + 1.0, f"only_{distributed.rank}": 5.0})
    return sums, distributed.max(distributed.rank)


def metrics_of_share(distributed: Distributed, folder: Path, shares: list[list[int]]) -> dict[str, float]:
    """Metrics of rollouts and windows, when these of the made-up episodes, in groups of 2, fall to this rank."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    episodes, own = make_episodes(), shares[distributed.rank]
    mine, groups = [episodes[i] for i in own], len(own) // 2
    everything = np.ones(len(own), bool)
    benchmark = planar.PlanarBenchmark()
    advantages = [np.array([advantage]) for advantage in ADVANTAGES[own]]
    metrics = rollout_metrics(
        distributed, benchmark, mine, everything, advantages, groups, policy.norm_stats, group_size=2
    )
    windows = make_optimizer(distributed).make_windows(policy, mine, ADVANTAGES[own])
    sums = window_range_sums(windows, policy.norm_stats)
    return metrics | update_metrics(distributed, sums, len(windows), 1, {})
