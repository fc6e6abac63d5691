"""Iterations per hour of runs of `train_ript_pi0.py`, from their own metrics.

    python benchmarks/iterations.py runs/libero_spatial_seed0
    python benchmarks/iterations.py runs/before runs/after --skip 2

Medians over iterations, since the first ones load tasks and compile. The rest is the iteration's wall time beyond
rollouts and update: evaluations count as their own, checkpoints and reports are in the rest. With several runs the
last lines are the ratios of each to the first.
"""

import argparse
import statistics
import sys
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ript.json_files import read_lines


@dataclass(frozen=True)
class Speed:
    """Medians over the iterations of a run; all that is in seconds, per iteration."""

    iterations_per_hour: float
    rollout_s: float
    update_s: float
    rest_s: float
    env_steps_per_s: float
    """While rollouts are played, over all processes."""


def speed(lines: list[dict[str, Any]], skip: int = 0) -> Speed:
    """Of the lines of a `metrics.jsonl`, without the first `skip` iterations. Raises ValueError where one lacks."""
    rows = [times for times in map(_times, [{"time/elapsed_s": 0.0}, *lines], lines) if times is not None][skip:]
    if not rows:
        raise ValueError(f"no iteration is left of it without the first {skip}")
    rollout_s, update_s, rest_s, env_steps = zip(*rows, strict=True)
    whole_s = statistics.median(map(sum, zip(rollout_s, update_s, rest_s, strict=True)))
    steps_per_s = statistics.median(steps / s for steps, s in zip(env_steps, rollout_s, strict=True))
    return Speed(3600 / whole_s, *map(statistics.median, (rollout_s, update_s, rest_s)), steps_per_s)


def _times(before: dict[str, Any], line: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """Seconds of rollouts, update and rest, and steps, of one iteration; None for an evaluation."""
    if line["phase"] != "train":
        return None
    try:
        whole = line["time/elapsed_s"] - before["time/elapsed_s"]
        played, updated, steps = (line[key] for key in ("time/rollout_s", "time/update_s", "env_steps"))
    except KeyError as error:
        raise ValueError(f"step {line['step']} has no {error.args[0]}: a run with rollouts has one") from error
    return played, updated, whole - played - updated, steps


def report(runs: list[Path], skip: int) -> str:
    """A table of the runs and of their ratios to the first. Raises FileNotFoundError or ValueError naming the file."""
    found = {}
    for run in runs:
        path = run / "metrics.jsonl"
        try:
            found[run.name] = astuple(speed(read_lines(path), skip))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    lines = ["| run | iterations per hour | rollouts, s | update, s | rest, s | env steps per s |", "|" + " --- |" * 6]
    lines += [f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |" for name, values in found.items()]
    (first_name, first), *others = found.items()
    for name, values in others:
        ratios = [f"{value / base:.2f} ×" if base else "" for value, base in zip(values, first, strict=True)]
        lines.append(f"| {name} / {first_name} | {' | '.join(ratios)} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table; bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a folder with a metrics.jsonl")
    parser.add_argument("--skip", type=int, default=1, help="iterations at the beginning (default: %(default)s)")
    options = parser.parse_args()
    try:
        print(report(options.runs, options.skip))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
