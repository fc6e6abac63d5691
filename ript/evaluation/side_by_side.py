"""Suites side by side, each compared with the first: `suites.json`, `suites.md` and `suites.html`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ript.evaluation.episode_log import read_log
from ript.evaluation.protocol import Setting, read_evaluation
from ript.evaluation.results import Counts, SettingResult, compare
from ript.evaluation.summary import COUNTS, describe_counts, interval
from ript.json_files import write_json
from ript.results.figures import rows_plot
from ript.results.page import Page, Plot, Section, Table, Text, write_page
from ript.results.success import newcombe_interval

SIDE_BY_SIDE = "suites"


def write_side_by_side(folder: Path, suites: Sequence[str]) -> None:
    """Compares the evaluations in the folders `folder/<suite>`, which had the same settings."""
    results = {suite: _results(folder / suite) for suite in suites}
    write_json(folder / f"{SIDE_BY_SIDE}.json", {"suites": {s: [r.as_dict() for r in results[s]] for s in suites}})
    write_page(make_page(results), folder, SIDE_BY_SIDE)


def make_page(results: Mapping[str, Sequence[SettingResult]]) -> Page:
    """All settings that all suites have in one table, where there are several, and a section for each."""
    by_setting = [{result.setting: result for result in of_suite} for of_suite in results.values()]
    shared = [setting for setting in by_setting[0] if all(setting in other for other in by_setting)]
    sections = [_grid(shared, dict(zip(results, by_setting, strict=True)))] if len(shared) > 1 else []
    for number, setting in enumerate(shared):
        found = {suite: other[setting] for suite, other in zip(results, by_setting, strict=True)}
        sections.append(Section(str(setting)[0].upper() + str(setting)[1:], _blocks(number, found)))
    return Page(f"{len(results)} suites side by side", sections)


def _grid(settings: Sequence[Setting], by_suite: Mapping[str, Mapping[Setting, SettingResult]]) -> Section:
    """A row per setting, a column per suite."""
    rows = [[str(setting), *(_cell(of[setting].overall) for of in by_suite.values())] for setting in settings]
    return Section("Settings", [Table(("setting", *by_suite), rows)])


def _cell(counts: Counts) -> str:
    success, rate, interval_, *_ = describe_counts(counts)
    return f"{success}, {rate} ({interval_})"


def _results(folder: Path) -> list[SettingResult]:
    _, plan = read_evaluation(folder)
    return compare(read_log(folder), plan)


def _blocks(number: int, found: Mapping[str, SettingResult]) -> list[Any]:
    """All tasks of each suite, and how far it is from the first; then the tasks, where the suites' are the same."""
    first = next(iter(found.values())).overall
    header = ("suite", *COUNTS, "points from the first", "95 % interval")
    rows = [[suite, *describe_counts(r.overall), *_difference(r.overall, first)] for suite, r in found.items()]
    blocks: list[Any] = [Table(header, rows)]
    missing = sum(result.missing for result in found.values())
    if missing:
        blocks.insert(0, Text(f"{missing} episodes are missing; the same command goes on."))
    played = {suite: interval(result.overall) for suite, result in found.items() if result.overall.episodes}
    if played:
        figure = rows_plot(played, "success in %", (-2, 102))
        blocks.append(Plot(f"suites_{number}", "Success per suite, with 95 % intervals.", figure))
    return [*blocks, *_task_table(found)]


def _task_table(found: Mapping[str, SettingResult]) -> list[Table]:
    """Task by task, where the suites have the same tasks, as LIBERO-PRO's have their original's."""
    tasks = [list(result.tasks) for result in found.values()]
    if any(names != tasks[0] for names in tasks):
        return []
    rows = [[task, *(_ratio(result.tasks[task]) for result in found.values())] for task in tasks[0]]
    return [Table(("task", *found), rows)]


def _ratio(counts: Counts) -> str:
    return f"{counts.successes}/{counts.episodes}"


def _difference(counts: Counts, first: Counts) -> list[str]:
    """The difference of two success rates in points, and its interval."""
    if counts is first or counts.success_rate is None or first.success_rate is None:
        return ["–", "–"]
    low, high = newcombe_interval(counts.successes, counts.episodes, first.successes, first.episodes)
    return [f"{100 * (counts.success_rate - first.success_rate):+.1f}", f"{100 * low:+.1f} to {100 * high:+.1f}"]
