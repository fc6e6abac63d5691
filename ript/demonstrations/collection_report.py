"""How a collection went, next to the data: `collection.json` and `collection.md`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ript.demonstrations.demonstration_files import read_tries, was_collected
from ript.json_files import write_json, write_whole
from ript.results.success import wilson_interval


def task_summary(path: Path) -> dict[str, Any]:
    """Counts of one task's file: successes, tries, interval, and means over the successes."""
    _, tries = read_tries(path)
    kept = [attempt for attempt in tries if attempt.success]
    low, high = wilson_interval(len(kept), len(tries))
    return {
        "task": path.stem.removesuffix("_demo"),
        "successes": len(kept),
        "tries": len(tries),
        "success_rate_low": low,
        "success_rate_high": high,
        "mean_steps": float(np.mean([attempt.steps for attempt in kept])) if kept else None,
        "seconds_per_try": float(np.mean([attempt.seconds for attempt in tries])) if tries else None,
        "megabytes": path.stat().st_size / 1e6,
    }


def write_report(folder: Path, settings: dict[str, Any]) -> None:
    """Summarizes all collected files of a folder."""
    tasks = [task_summary(path) for path in sorted(folder.glob("*_demo.hdf5")) if was_collected(path)]
    write_json(folder / "collection.json", {"settings": settings, "tasks": tasks})
    write_whole(folder / "collection.md", _markdown(settings, tasks))


def _markdown(settings: dict[str, Any], tasks: list[dict[str, Any]]) -> str:
    lines = [
        f"# Demonstrations of {settings['suite']}",
        "",
        ", ".join(f"{name} {value}" for name, value in settings.items()),
        "",
        "| task | successes / tries | 95 % interval | mean steps | s per try | MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for task in tasks:
        low, high = 100 * task["success_rate_low"], 100 * task["success_rate_high"]
        steps = "–" if task["mean_steps"] is None else f"{task['mean_steps']:.0f}"
        seconds = "–" if task["seconds_per_try"] is None else f"{task['seconds_per_try']:.1f}"
        lines.append(
            f"| {task['task']} | {task['successes']} / {task['tries']} | {low:.0f}–{high:.0f} % "
            f"| {steps} | {seconds} | {task['megabytes']:.1f} |"
        )
    return "\n".join(lines) + "\n"
