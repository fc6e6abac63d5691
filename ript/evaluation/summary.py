"""What an evaluation found: `summary.json`, `summary.md` and `summary.html`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ript.evaluation.episode_log import EpisodeRecord, read_log, select
from ript.evaluation.films import find_films
from ript.evaluation.protocol import Plan, Protocol, read_evaluation
from ript.evaluation.results import Counts, SettingResult, compare
from ript.json_files import write_json
from ript.results.figures import Interval, histogram, rows_plot, series_plot
from ript.results.page import Page, Plot, Section, Table, Text, Video, Videos, write_page
from ript.results.videos import VIDEOS, Film

SUMMARY = "summary"

COUNTS = ("success", "rate", "95 % interval", "mean steps of successes", "steps/s")
"""The columns of `describe_counts`."""


def write_summary(folder: Path) -> list[SettingResult]:
    """Summarizes the episodes that the folder holds now; returns the result of each setting."""
    protocol, plan = read_evaluation(folder)
    records = read_log(folder)
    results = compare(records, plan)
    content = {"missing": _missing(results), "settings": [result.as_dict() for result in results]}
    write_json(folder / f"{SUMMARY}.json", content)
    write_page(make_page(protocol, plan, records, results, folder), folder, SUMMARY)
    return results


def make_page(
    protocol: Protocol, plan: Plan, records: Sequence[EpisodeRecord], results: Sequence[SettingResult], folder: Path
) -> Page:
    """The page of an evaluation; `folder` is where its videos are."""
    tasks = list(dict.fromkeys(task for wanted in plan.values() for task in wanted))
    films = find_films(folder, tasks)
    sections = [_comparison(results)]
    for number, result in enumerate(results):
        sections.append(_setting_section(number, result, records, protocol))
    if films:
        sections.append(_film_section(results[0], films))
    sections.append(Section("What was evaluated", [_protocol_table(protocol)]))
    return Page(f"Evaluation on {protocol.suite}", sections)


def describe_counts(counts: Counts) -> list[str]:
    """The cells k/n, rate, interval, mean length of successes, steps per second."""
    low, high = 100 * counts.success_rate_low, 100 * counts.success_rate_high
    return [
        f"{counts.successes}/{counts.episodes}",
        _number(None if counts.success_rate is None else 100 * counts.success_rate, ".1f", " %"),
        f"{low:.1f}–{high:.1f} %",
        _number(counts.mean_success_length, ".1f"),
        _number(counts.steps_per_second, ".1f"),
    ]


def _comparison(results: Sequence[SettingResult]) -> Section:
    """All settings side by side, each over all of its tasks."""
    missing = _missing(results)
    blocks: list[Text | Table | Plot | Videos] = []
    if missing:
        wanted = sum(result.wanted for result in results)
        blocks.append(Text(f"{missing} of {wanted} episodes are missing; the same command goes on."))
    rows = [[str(result.setting), *describe_counts(result.overall)] for result in results]
    blocks.append(Table(("setting", *COUNTS), rows))
    if len(results) > 1:
        blocks.append(_settings_plot(results))
    return Section("Success", blocks)


def _settings_plot(results: Sequence[SettingResult]) -> Plot:
    """Success against denoising steps, one line per guidance scale; against guidance if only that varies."""
    steps = sorted({result.setting.denoise_steps for result in results})
    scales = sorted({result.setting.cfg_scale for result in results})
    over_steps = len(steps) > 1
    ticks = [str(value) for value in steps] if over_steps else [f"{value:g}" for value in scales]
    series: dict[str, dict[str, Interval]] = {}
    for result in sorted(results, key=lambda result: (result.setting.cfg_scale, result.setting.denoise_steps)):
        if result.overall.episodes:
            step, scale = str(result.setting.denoise_steps), f"{result.setting.cfg_scale:g}"
            name, tick = (f"guidance {scale}", step) if over_steps else (f"{step} denoising steps", scale)
            series.setdefault(name, {})[tick] = interval(result.overall)
    xlabel = "denoising steps" if over_steps else "guidance scale"
    figure = series_plot(ticks, series, xlabel, "success in %", (-2, 102))
    return Plot("settings", "Success over all tasks, with 95 % intervals.", figure)


def _setting_section(
    number: int, result: SettingResult, records: Sequence[EpisodeRecord], protocol: Protocol
) -> Section:
    """The tasks of one setting."""
    ids = {record.task: record.task_id for record in records}
    rows = [
        [task, str(ids[task]) if task in ids else "–", *describe_counts(counts)]
        for task, counts in result.tasks.items()
    ]
    rows.append(["all tasks", "", *describe_counts(result.overall)])
    blocks: list[Text | Table | Plot | Videos] = [Table(("task", "id", *COUNTS), rows)]
    played = {f"task {ids[task]}": interval(counts) for task, counts in result.tasks.items() if counts.episodes}
    if played:
        figure = rows_plot(played, "success in %", (-2, 102))
        blocks.append(Plot(f"tasks_{number}", "Success per task, with 95 % intervals.", figure))
    lengths = [record.length for record in select(records, result.setting) if record.success]
    if lengths:
        figure = histogram(lengths, "control steps", "successes", (0, protocol.max_steps))
        blocks.append(Plot(f"lengths_{number}", "Lengths of the successes.", figure))
    return Section(str(result.setting)[0].upper() + str(result.setting)[1:], blocks)


def _film_section(first: SettingResult, films: Sequence[Film]) -> Section:
    """All films, failures first."""
    videos = [Video(f"{VIDEOS}/{film.name}.mp4", film.caption) for film in sorted(films, key=lambda film: film.success)]
    return Section("Videos", [Text(f"With {first.setting}; failures first."), Videos(videos)])


def _protocol_table(protocol: Protocol) -> Table:
    rows = [
        ("policy", protocol.policy["path"]),
        *((f"SHA-256 of {name}", value) for name, value in protocol.policy["sha256"].items()),
        ("suite", protocol.suite),
        ("seed", str(protocol.seed)),
        ("maximum steps", str(protocol.max_steps)),
        ("wait steps", str(protocol.wait_steps)),
        ("executed steps per inference", str(protocol.open_loop)),
        ("camera images", f"{protocol.image_size} × {protocol.image_size}"),
        ("device", protocol.device),
        *protocol.versions.items(),
    ]
    return Table(("what", "value"), rows, numeric=False)


def interval(counts: Counts) -> Interval:
    """Success in % with its 95 % interval."""
    rate = 0.0 if counts.success_rate is None else counts.success_rate
    return 100 * rate, 100 * counts.success_rate_low, 100 * counts.success_rate_high


def _missing(results: Sequence[SettingResult]) -> int:
    return sum(result.missing for result in results)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"
