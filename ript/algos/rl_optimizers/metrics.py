"""Metrics of an iteration: sums and counts are added over ranks, then divided."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ript.algos.rl_optimizers.fit_metrics import episode_range_sums, group_sums, range_metrics
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.models.pi0.norm_stats import NormStats


def rollout_metrics(
    distributed: Distributed,
    benchmark: Any,
    episodes: Sequence[Episode],
    valid_mask: np.ndarray,
    advantages: Sequence[np.ndarray],
    checked: int,
    norm_stats: NormStats,
    group_size: int,
) -> dict[str, float]:
    """Scores of the rollouts, outcomes of groups and ranges of states and actions.

    `episodes` are all rollouts tried, in groups of `group_size`, and `valid_mask` (N,) says which are learned from;
    `advantages` are those of their chunks, per episode (C_i,); `checked` is how many contexts this rank tried. A mean
    over nothing is left out.
    """
    rewards = np.array([e.score for e, valid in zip(episodes, valid_mask, strict=True) if valid])
    worth = np.array([own.mean() for own in advantages])
    names = benchmark.get_task_names()
    sums = {
        "rollout_checked": float(checked),
        "env_steps": float(sum(e.length for e in episodes)),
        "tried": float(len(episodes)),
        "succeeded": float(sum(e.success for e in episodes)),
        "learned": float(len(rewards)),
        "reward": float(np.sum(rewards)),
        "advantage": float(np.sum(worth)),
        "non_zero": float(sum(bool(own.any()) for own in advantages)),
        **group_sums(episodes, group_size),
        **episode_range_sums(episodes, norm_stats),
    }
    for episode in episodes:
        for key, value in (("task_tried", 1.0), ("task_succeeded", float(episode.success))):
            name = f"{key}/{names[episode.task_id]}"
            sums[name] = sums.get(name, 0.0) + value
    total = distributed.sum(sums)
    metrics = {key: total[key] for key in ("rollout_checked", "groups_failed", "groups_solved", "env_steps")}
    metrics["rollouts_learned_from"] = total["learned"]
    metrics |= ratio("raw_success_rate", total["succeeded"], total["tried"])
    metrics |= ratio("mean_scores", total["reward"], total["learned"])
    metrics |= ratio("mean_advantage", total["advantage"], total["learned"])
    metrics |= ratio("non_zero_adv_ratio", total["non_zero"], total["learned"])
    metrics |= range_metrics(total)
    metrics |= ratio("command_clipped", total["command_clipped"], total["command_numbers"])
    for name in sorted(key.removeprefix("task_tried/") for key in total if key.startswith("task_tried/")):
        succeeded, tried = total[f"task_succeeded/{name}"], total[f"task_tried/{name}"]
        metrics |= ratio(f"rl_train_success_rate/{name}", succeeded, tried)
    return metrics


def update_metrics(
    distributed: Distributed, totals: Mapping[str, float], num_windows: int, steps: int, losses: Mapping[str, str]
) -> dict[str, float]:
    """Losses averaged over the windows that have them, gradient norms over steps (they are equal on all ranks).

    `totals` are this rank's sums: those of `Learner.step`, of its epochs, and of ranges; `losses` says which of them
    are which metrics.
    """
    total = distributed.sum({**totals, "num_windows": num_windows})
    skipped = totals.get("skipped", 0.0)  # the same on all ranks
    steps -= int(skipped)
    metrics = {"num_windows": total["num_windows"], "gradient_steps": float(steps)}
    metrics |= {"gradient_steps_skipped": skipped} if skipped else {}
    for name, key in losses.items():
        metrics |= ratio(key, total.get(f"{name}_sum", 0.0), total.get(f"{name}_count", 0.0))
    for name in ("gradient_norm", "gradient_kept"):
        for group in ("model", "header", "value", "latent"):
            if f"{name}_{group}" in totals:
                metrics |= ratio(f"{name}_{group}", totals[f"{name}_{group}"], steps)
    return metrics | range_metrics(total)


def ratio(name: str, numerator: float, denominator: float) -> dict[str, float]:
    """`{name: numerator / denominator}`, or nothing over nothing."""
    return {name: numerator / denominator} if denominator else {}
