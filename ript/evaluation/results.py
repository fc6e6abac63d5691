"""From episodes to counts with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ript.evaluation.episode_log import EpisodeRecord, select
from ript.evaluation.protocol import Plan, Setting
from ript.results.success import wilson_interval


@dataclass(frozen=True)
class Counts:
    """Successes of some episodes."""

    successes: int
    episodes: int
    success_rate: float | None
    """None when nothing was played."""
    success_rate_low: float
    """Low end of the 95 % Wilson interval."""
    success_rate_high: float
    mean_success_length: float | None
    """Control steps of the successes."""
    steps_per_second: float | None
    """Control steps per second of wall time of one episode, with others beside it."""


@dataclass(frozen=True)
class SettingResult:
    """What one setting achieved."""

    setting: Setting
    wanted: int
    """Episodes asked for, over all tasks."""
    missing: int
    """How many of them have not been played."""
    overall: Counts
    tasks: dict[str, Counts]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        return {**content.pop("setting"), **content}


def count(records: Sequence[EpisodeRecord]) -> Counts:
    """Counts over the records, however they were mixed."""
    lengths = [record.length for record in records if record.success]
    low, high = wilson_interval(len(lengths), len(records))
    seconds = sum(record.seconds for record in records)
    return Counts(
        successes=len(lengths),
        episodes=len(records),
        success_rate=len(lengths) / len(records) if records else None,
        success_rate_low=low,
        success_rate_high=high,
        mean_success_length=sum(lengths) / len(lengths) if lengths else None,
        steps_per_second=sum(record.length for record in records) / seconds if seconds else None,
    )


def compare(records: Sequence[EpisodeRecord], plan: Plan) -> list[SettingResult]:
    """The result of each setting of the plan."""
    results = []
    for setting, tasks in plan.items():
        played = select(records, setting)
        counts = {task: count(select(played, setting, task)) for task in tasks}
        missing = sum(max(wanted - counts[task].episodes, 0) for task, wanted in tasks.items())
        results.append(SettingResult(setting, sum(tasks.values()), missing, count(played), counts))
    return results
