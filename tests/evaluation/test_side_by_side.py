import json
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_samples import PROTOCOL, SETTINGS, TASKS, record

from ript.evaluation.episode_log import EpisodeLog
from ript.evaluation.protocol import open_evaluation
from ript.evaluation.side_by_side import write_side_by_side

SETTING = SETTINGS[0]


def play(folder: Path, suite: str, successes: int, episodes: int = 10, played: int = 10, task: str = TASKS[0]) -> None:
    """A suite's folder, with so many successes under one setting."""
    (folder / suite).mkdir(parents=True)
    open_evaluation(folder / suite, replace(PROTOCOL, suite=suite), {SETTING: {task: episodes}})
    with EpisodeLog(folder / suite) as log:
        for index in range(played):
            log.append(replace(record(SETTING, TASKS[0], index, index < successes), task=task))


def row(page: Path, name: str) -> list[str]:
    """The cells of the first row that begins so."""
    line = next(line for line in page.read_text().splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_suite_has_its_counts_and_its_distance_from_the_first(tmp_path: Path) -> None:
    play(tmp_path, "trained", 8)
    play(tmp_path, "moved", 3)
    write_side_by_side(tmp_path, ["trained", "moved"])
    assert row(tmp_path / "suites.md", "trained")[1:] == ["8/10", "80.0 %", "49.0–94.3 %", "300.0", "24.0", "–", "–"]
    assert row(tmp_path / "suites.md", "moved")[-2:] == ["-50.0", "-74.0 to -6.6"]
    content = json.loads((tmp_path / "suites.json").read_text())["suites"]
    assert [content[suite][0]["overall"]["successes"] for suite in ("trained", "moved")] == [8, 3]
    assert "Success per suite" in (tmp_path / "suites.html").read_text()


@pytest.mark.parametrize(("task", "compared"), [(TASKS[0], True), (TASKS[1], False)])
def test_tasks_stand_side_by_side_where_the_suites_have_the_same(tmp_path: Path, task: str, compared: bool) -> None:
    play(tmp_path, "trained", 8)
    play(tmp_path, "moved", 3, task=task)
    write_side_by_side(tmp_path, ["trained", "moved"])
    page = (tmp_path / "suites.md").read_text()
    assert (f"| {TASKS[0]} | 8/10 | 3/10 |" in page) == compared


def test_several_settings_of_several_suites_stand_in_one_table(tmp_path: Path) -> None:
    for suite, successes in {"trained": (8, 6), "moved": (3, 0)}.items():
        (tmp_path / suite).mkdir()
        plan = {setting: {TASKS[0]: 10} for setting in SETTINGS[:2]}
        open_evaluation(tmp_path / suite, replace(PROTOCOL, suite=suite), plan)
        with EpisodeLog(tmp_path / suite) as log:
            for setting, won in zip(plan, successes, strict=True):
                for index in range(10):
                    log.append(record(setting, TASKS[0], index, index < won))
    write_side_by_side(tmp_path, ["trained", "moved"])
    page = tmp_path / "suites.md"
    assert row(page, "setting") == ["setting", "trained", "moved"]
    assert row(page, "10 denoising steps, guidance 1")[1:] == [
        "8/10, 80.0 % (49.0–94.3 %)",
        "3/10, 30.0 % (10.8–60.3 %)",
    ]
    assert row(page, "2 denoising steps, guidance 1")[1:] == ["6/10, 60.0 % (31.3–83.2 %)", "0/10, 0.0 % (0.0–27.8 %)"]


def test_one_setting_needs_no_such_table(tmp_path: Path) -> None:
    play(tmp_path, "trained", 8)
    play(tmp_path, "moved", 3)
    write_side_by_side(tmp_path, ["trained", "moved"])
    assert "| setting |" not in (tmp_path / "suites.md").read_text()


def test_what_was_not_played_is_said(tmp_path: Path) -> None:
    play(tmp_path, "trained", 8)
    play(tmp_path, "moved", 0, played=0)
    write_side_by_side(tmp_path, ["trained", "moved"])
    assert "10 episodes are missing" in (tmp_path / "suites.md").read_text()
    assert row(tmp_path / "suites.md", "moved")[1:3] == ["0/0", "–"]
