"""Whether a policy can learn from a saved episode in a run."""

from typing import Any

import numpy as np

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.models.pi0.norm_stats import NormStats
from ript.storage.episode_files import SavedEpisode
from ript.storage.windows import WindowCutter


def check_episode(saved: SavedEpisode, runner: Any, policy: PI0_OFT_Policy, cutter: WindowCutter) -> None:
    """Raises ValueError, naming file and key, for an episode that this policy cannot learn from in this run."""
    if saved.suite != runner.benchmark.name or saved.task not in runner.task_names:
        raise ValueError(
            f"{saved.path}: task {saved.task} of {saved.suite} is not one of this run's, which are of "
            f"{runner.benchmark.name}: {', '.join(runner.task_names)}"
        )
    missing = [camera for camera in policy.card.cameras if camera not in saved.cameras]
    if missing:
        raise ValueError(f"{saved.path}: image/{missing[0]} is missing: the policy looks through it")
    _check_widths(saved, policy.norm_stats)
    _check_statistics(saved, policy.norm_stats)
    unseen = sorted(set(cutter.starts(saved.episode, policy.chunk_size)) - saved.episode.observations.keys())
    if unseen:
        raise ValueError(
            f"{saved.path}: steps lacks {unseen[0]}, where window_stride={cutter.window_stride} starts a window; "
            f"it has {', '.join(map(str, saved.episode.observations))}"
        )


def _check_widths(saved: SavedEpisode, expected: NormStats) -> None:
    widths = {
        "actions": (saved.episode.actions.shape[1], expected.actions.width),
        "raw_state": (len(next(iter(saved.episode.states.values()))), expected.state.width),
    }
    for key, (found, wanted) in widths.items():
        if found != wanted:
            raise ValueError(f"{saved.path}: {key} has {found} numbers a step, the policy's statistics are of {wanted}")


def _check_statistics(saved: SavedEpisode, expected: NormStats) -> None:
    for group in ("state", "actions"):
        found, wanted = getattr(saved.norm_stats, group), getattr(expected, group)
        for name in ("mode", "offset", "scale"):
            if not np.array_equal(getattr(found, name), getattr(wanted, name)):
                raise ValueError(
                    f"{saved.path}: norm_stats.{group}.{name} is not the policy's: another policy's statistics "
                    "normalised what it saw; set norm_stats_path to theirs, or log episodes with this policy's"
                )
