"""The page of a training run: what it is, how it went, what went wrong; from its folder alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import ListConfig, OmegaConf

from ript.report.run_folder import Line, RunFolder, read_run
from ript.report.run_plots import (
    actor_plot,
    critic_plot,
    gradient_plot,
    loss_plot,
    memory_plot,
    success_plots,
    time_plot,
)
from ript.results.page import Page, Section, Table, Text, Video, Videos, write_page
from ript.results.success import wilson_interval
from ript.results.videos import VIDEOS, step_folder

REPORT = "report"
FILMS = 24
"""Videos of an evaluation on the page, at most."""


def write_report(path: Path) -> Path:
    """Writes `report.html`, `report.md` and `plots/` into a run's folder; returns the HTML file.

    Raises FileNotFoundError or ValueError, see `read_run`.
    """
    write_page(make_page(read_run(path)), path, REPORT)
    return path / f"{REPORT}.html"


def make_page(run: RunFolder) -> Page:
    """What the run has: a section without data is left out."""
    sections = [
        Section("The run", [_overview(run)]),
        Section("Success", success_plots(run)),
        Section("Success per task", _task_tables(run)),
        Section("Losses", loss_plot(run)),
        Section("Policy", actor_plot(run)),
        Section("Critic", critic_plot(run)),
        Section("Gradients", gradient_plot(run)),
        Section("Time per iteration", time_plot(run)),
        Section("Memory", memory_plot(run)),
        Section("Diagnoses", _diagnoses(run)),
        Section("Videos", _videos(run)),
    ]
    return Page(f"Run {run.path.resolve().name}", [section for section in sections if section.blocks])


def duration(seconds: float) -> str:
    """`48 s`, `12 min` or `3 h 05 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


def _listed(tasks: Any) -> str:
    if tasks is None:
        return "all"
    return ", ".join(map(str, tasks)) if isinstance(tasks, ListConfig) else str(tasks)


def _overview(run: RunFolder) -> Table:
    def value(key: str) -> str | None:
        found = OmegaConf.select(run.config, key)
        return None if found is None else str(found)

    policy = value("algo.pretrained_path") or "the small π0 that ships with the project"
    tasks = OmegaConf.select(run.config, "task.task_names_to_use")
    done = max((line["step"] for line in (*run.train, *run.evaluations)), default=0)
    planned = value("training.n_steps")
    rows: list[tuple[str, str | None]] = [
        ("algorithm", (value("algo.rl_optimizer._target_") or "").rpartition(".")[2]),
        ("suite", value("task.benchmark_name")),
        ("tasks", _listed(tasks)),
        ("policy", "random weights" if value("algo.random_weights") == "True" else policy),
        ("seed", value("seed")),
        ("iterations", f"{done} of {planned}" if planned else str(done)),
        ("environment steps", f"{run.env_steps_at(done):,.0f}" if run.env_steps_at(done) else None),
        ("wall time", None if run.elapsed_s is None else duration(run.elapsed_s)),
        *_starts(run.starts),
    ]
    return Table(("what", "value"), [(name, text) for name, text in rows if text], numeric=False)


def _starts(starts: Sequence[Line]) -> list[tuple[str, str | None]]:
    """When the run was started, and the hardware and versions of the latest start."""
    if not starts:
        return []
    last = starts[-1]
    return [
        ("started", starts[0]["time"]),
        ("resumed", "; ".join(f"after iteration {start['step']}, {start['time']}" for start in starts[1:])),
        ("hardware", f"{last['gpu'] or 'no GPU'}, {last['cpus']} CPU cores, {last['memory_gib']:.0f} GiB of memory"),
        ("processes", str(last["world_size"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in last["versions"].items())),
    ]


def _task_tables(run: RunFolder) -> list[Table]:
    """Successes per task in the first and in the last evaluation."""
    counted = [line for line in run.evaluations if any(key.startswith("rollout_count/") for key in line)]
    if not counted:
        return []
    shown = counted if len(counted) == 1 else [counted[0], counted[-1]]
    tasks = [key.removeprefix("rollout_count/") for key in shown[-1] if key.startswith("rollout_count/")]
    header = ["task"]
    for line in shown:
        header += [f"after {line['step']} iterations", "rate", "95 % interval"]
    rows = []
    for name, suffix in [*((task, f"/{task}") for task in tasks), ("all tasks", "")]:
        rows.append([name, *(cell for line in shown for cell in _counts(line, suffix))])
    return [Table(header, rows)]


def _counts(line: Line, suffix: str) -> list[str]:
    """The cells k/n, rate and interval of an evaluation's task."""
    k, n = (line.get(f"{key}{suffix}", 0) for key in ("success_count", "rollout_count"))
    if n == 0:
        return ["–", "–", "–"]
    low, high = wilson_interval(k, n)
    return [f"{k}/{n}", f"{100 * k / n:.1f} %", f"{100 * low:.1f}–{100 * high:.1f} %"]


def _diagnoses(run: RunFolder) -> list[Table]:
    rows = [[str(line["step"]), line["name"], line["cause"], line["advice"]] for line in run.diagnoses]
    return [Table(("iteration", "what", "cause", "advice"), rows, numeric=False)] if rows else []


def _videos(run: RunFolder) -> list[Text | Videos]:
    """Those of the first and of the last evaluation that was filmed."""
    filmed = [step for step in dict.fromkeys(line["step"] for line in run.evaluations) if run.films(step)]
    blocks: list[Text | Videos] = []
    for step in filmed if len(filmed) < 2 else (filmed[0], filmed[-1]):
        films = run.films(step)
        more = f"; {FILMS} of {len(films)} videos" if len(films) > FILMS else ""
        blocks.append(Text(f"The evaluation after {step} iterations{more}."))
        folder = f"{VIDEOS}/{step_folder(step)}"
        blocks.append(Videos([Video(f"{folder}/{film.name}.mp4", film.caption) for film in films[:FILMS]]))
    return blocks
