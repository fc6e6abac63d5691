"""What tests run on every rank; importable by spawned processes."""

from pathlib import Path
from typing import Any

import numpy as np
import planar
import torch
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.algos.rl_optimizers.contexts import ContextLoader
from ript.algos.rl_optimizers.file_counter import make_counter, reset_global_counter
from ript.algos.rl_optimizers.fit_metrics import window_range_sums
from ript.algos.rl_optimizers.metrics import rollout_metrics, update_metrics
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.distributed import Distributed
from ript.env_runner.episode import Episode

LENGTHS = (50, 73, 20, 120, 31, 50)
ADVANTAGES = np.array([1.0, -1 / 3, -1 / 3, -1 / 3, 0.5, -0.5])


def make_optimizer(distributed: Distributed | None = None, **options: Any) -> CFGFlowOptimizerPI0:
    """An optimizer on the plane; generator options are taken out of `options`."""
    names = (
        "rloo_batch_size",
        "demo_batch_size",
        "enable_dynamic_sampling",
        "max_groups_per_step",
        "early_stop_percentage",
    )
    chosen = {name: options.pop(name) for name in names if name in options}
    runner = planar.planar_runner(num_parallel_envs=4)
    generator = RolloutGenerator(runner, use_tqdm=False, distributed=distributed, **chosen)
    return CFGFlowOptimizerPI0(generator, SuccessReward(), use_tqdm=False, distributed=distributed, **options)


def make_episodes() -> list[Episode]:
    return [episode(length, seed=i, success=ADVANTAGES[i] > 0) for i, length in enumerate(LENGTHS)]


def gradient_of_share(distributed: Distributed, folder: Path, shares: list[list[int]], options: dict[str, Any]) -> Any:
    """Gradient (flat) of the episodes that fall to this rank, summed over ranks, and the sum of its losses."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder))
    optimizer = make_optimizer(distributed, **options)
    episodes = make_episodes()
    own = shares[distributed.rank]
    windows = optimizer.make_windows(policy, [episodes[i] for i in own], ADVANTAGES[own])
    weights = optimizer.weights(windows, ADVANTAGES[own])
    sums = optimizer.window_update.accumulate_gradients(policy, windows, weights, (0, 0, 0))
    parameters = [p for group in policy.trainable_params.values() for p in group]
    distributed.sum_gradients(parameters)
    gradient = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    return gradient.numpy(), distributed.sum(sums)


def optimize_on_plane(distributed: Distributed, folder: Path, steps: int, options: dict[str, Any]) -> Any:
    """Metrics of some iterations on this rank, and the first weights of the result."""
    policy = PI0_OFT_Policy(pretrained_path=str(folder), num_steps=2)
    optimizer = make_optimizer(distributed, **options)
    batch_size = optimizer.rollout_generator.demo_batch_size
    loader = ContextLoader([0, 1], batch_size, rank=distributed.rank, world_size=distributed.world_size)
    iterator = iter(loader)
    optimizers = {name: torch.optim.AdamW(group, lr=1e-3) for name, group in policy.trainable_params.items()}
    metrics = [optimizer.optimize(policy, next(iterator), optimizers, iterator, loader) for _ in range(steps)]
    return metrics, policy.model.action_out_proj.weight.detach().numpy()


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
    mine, advantages = [episodes[i] for i in own], ADVANTAGES[own]
    benchmark, groups = planar.PlanarBenchmark(), len(own) // 2
    metrics = rollout_metrics(
        distributed, benchmark, mine, advantages, advantages, groups, policy.norm_stats, group_size=2
    )
    windows = make_optimizer(distributed).make_windows(policy, mine, advantages)
    sums = window_range_sums(windows, policy.norm_stats)
    return metrics | update_metrics(distributed, sums, len(windows), steps=1)
