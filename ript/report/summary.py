"""A training run in a few lines for the console: success before, meanwhile and after, and what to look at next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from ript.report.run_folder import Line, RunFolder
from ript.report.run_page import REPORT, duration
from ript.results.success import describe, newcombe_interval
from ript.results.videos import VIDEOS

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
"""Bars of a curve, at most."""


def summary(run: RunFolder, policy: Path | None = None) -> str:
    """The run as text, one fact a line; what it does not have is left out. `policy`: the folder of its newest one."""
    facts = [*_evaluations(run), *_rollouts(run), *_gain(run), *_costs(run), *_places(run, policy)]
    width = max((len(name) for name, _ in facts), default=0)
    return "\n".join([f"{run.path}:", *(f"  {name:<{width}}  {text}" for name, text in facts)])


def bars(rates: Sequence[float]) -> str:
    """Rates from 0 to 1, each as a bar; where they are more than `WIDTH`, means of as many as it takes."""
    size = -(-len(rates) // WIDTH)
    means = [sum(part) / len(part) for part in (rates[i : i + size] for i in range(0, len(rates), size))]
    return "".join(BARS[round(mean * (len(BARS) - 1))] for mean in means)


def _evaluations(run: RunFolder) -> list[tuple[str, str]]:
    """Success in the first and in the last evaluation."""
    counted = _counted(run)
    shown = counted if len(counted) < 2 else [counted[0], counted[-1]]
    return [(f"after {line['step']} iterations", describe({"rollout": line})) for line in shown]


def _counted(run: RunFolder) -> list[Line]:
    return [line for line in run.evaluations if line.get("rollout_count")]


def _rollouts(run: RunFolder) -> list[tuple[str, str]]:
    rates = run.curve("raw_success_rate")
    if rates is None:
        return []
    first, last = 100 * rates.y[0], 100 * rates.y[-1]
    return [("training rollouts", f"{first:.0f} % {bars(list(rates.y))} {last:.0f} %")]


def _gain(run: RunFolder) -> list[tuple[str, str]]:
    """What the last evaluation has over the first."""
    counted = _counted(run)
    if len(counted) < 2:
        return []
    k, n, k0, n0 = (line[key] for line in (counted[-1], counted[0]) for key in ("success_count", "rollout_count"))
    low, high = newcombe_interval(k, n, k0, n0)
    gain = k / n - k0 / n0
    return [("gain", f"{100 * gain:+.1f} points (95 % interval {100 * low:+.1f} to {100 * high:+.1f})")]


def _costs(run: RunFolder) -> list[tuple[str, str]]:
    spent = [f"{run.env_steps[-1]:,.0f} environment steps"] if run.train and run.env_steps[-1] else []
    spent += [] if run.elapsed_s is None else [duration(run.elapsed_s)]
    return [("cost", ", ".join(spent))] if spent else []


def _places(run: RunFolder, policy: Path | None) -> list[tuple[str, str]]:
    """Where report, videos and policy lie, and the command that evaluates it."""
    places = [("report", run.path / f"{REPORT}.html"), ("videos", run.path / VIDEOS)]
    found = [(name, str(path)) for name, path in places if path.exists()]
    suite = OmegaConf.select(run.config, "task.benchmark_name")
    if policy is None or suite is None:
        return found
    out = run.path.parent / "evaluations" / run.path.name
    command = ["python", "-m", "ript.evaluation", "--suite", suite, "--policy", str(policy), "--out", str(out)]
    return [*found, ("policy", str(policy)), ("evaluate it", shlex.join(command))]
