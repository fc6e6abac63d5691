"""Sums that tell whether rollouts and windows fit the policy: outcomes of groups, ranges of normalised numbers."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ript.env_runner.episode import Episode
from ript.models.pi0.norm_stats import Normalizer, NormStats
from ript.storage.windows import Window

ARM_DIM = 6
"""Commands that the controller clips to [-1, 1]; of the gripper's only the sign counts."""
RANGES = ("state", "label", "chunk")


def group_sums(episodes: Sequence[Episode], group_size: int) -> dict[str, float]:
    """Groups of `group_size` episodes, one after the other, in which all rollouts failed, or all succeeded."""
    successes = np.array([e.success for e in episodes], bool).reshape(-1, group_size)
    return {
        "groups_failed": float((~successes.any(axis=1)).sum()),
        "groups_solved": float(successes.all(axis=1).sum()),
    }


def episode_range_sums(episodes: Sequence[Episode], norm_stats: NormStats) -> dict[str, float]:
    """Ranges of the states seen, of the policy's chunks, and of the commands executed."""
    states = (seen["state"] for e in episodes for seen in e.observations.values())
    arm = [np.abs(e.actions[:, :ARM_DIM]) for e in episodes]
    return {
        **_range_sums("state", states, norm_stats.state),
        **_range_sums("chunk", (e.actions_normalized for e in episodes), norm_stats.actions),
        "command_clipped": float(sum((part > 1).sum() for part in arm)),
        "command_numbers": float(sum(part.size for part in arm)),
    }


def window_range_sums(windows: Sequence[Window], norm_stats: NormStats) -> dict[str, float]:
    """Ranges of the windows' states and of their action labels, padding left out."""
    return {
        **_range_sums("state", (w.observation["state"] for w in windows), norm_stats.state),
        **_range_sums("label", (w.actions[~w.action_is_pad] for w in windows), norm_stats.actions),
    }


def range_metrics(total: Mapping[str, float]) -> dict[str, float]:
    """`<name>_out_of_range` (a share) and `<name>_rms` of the sums over ranks; nothing for what has no numbers."""
    metrics = {}
    for name in RANGES:
        if count := total.get(f"{name}_numbers"):
            metrics[f"{name}_out_of_range"] = total[f"{name}_far"] / count
            metrics[f"{name}_rms"] = float(np.sqrt(total[f"{name}_square"] / count))
    return metrics


def _range_sums(name: str, parts: Iterable[np.ndarray], normalizer: Normalizer) -> dict[str, float]:
    values = np.concatenate([np.zeros(0), *(np.asarray(part, np.float64).reshape(-1) for part in parts)])
    return {
        f"{name}_far": float((np.abs(values) > normalizer.bound).sum()),
        f"{name}_square": float(np.square(values).sum()),
        f"{name}_numbers": float(values.size),
    }
