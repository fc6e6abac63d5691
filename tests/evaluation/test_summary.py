import json
import math
import re
from collections.abc import Container, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import samples
from evaluation_samples import SETTINGS, TASKS, record, write_evaluation
from planar import PlanarSimulator

from ript.env_runner.episode import Episode
from ript.env_runner.runner import Runner
from ript.evaluation.episode_log import EpisodeRecord
from ript.evaluation.films import choose, film_task, find_films
from ript.evaluation.results import count
from ript.evaluation.summary import write_summary
from ript.results.videos import Film, write_video


class Page(HTMLParser):
    """The page's text and the sources of its videos, in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.videos = "", []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "video":
            self.videos.append(dict(attrs)["src"])

    def handle_data(self, data: str) -> None:
        self.text += data


def film(folder: Path, shown: Film) -> None:
    write_video([np.zeros((16, 16, 3), np.uint8)], folder / "videos", shown.name)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpisodeRecord]]:
    folder = tmp_path_factory.mktemp("evaluated")
    records = write_evaluation(folder)
    for shown in (Film(TASKS[0], 1, True), Film(TASKS[1], 0, False), Film(TASKS[1], 12, True)):
        film(folder, shown)
    write_summary(folder)
    return folder, records


def wilson(k: int, n: int) -> tuple[float, float]:
    """The textbook's formula."""
    z = 1.959963984540054
    centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    return max(centre - half, 0), min(centre + half, 1)


def test_counts_are_those_of_the_records() -> None:
    lengths = [30, 50, 300, 300, 300]
    counts = count([record(SETTINGS[0], TASKS[0], i, i < 2, length) for i, length in enumerate(lengths)])
    assert (counts.successes, counts.episodes, counts.success_rate) == (2, 5, 0.4)
    assert (counts.success_rate_low, counts.success_rate_high) == pytest.approx(wilson(2, 5))
    assert counts.mean_success_length == 40
    assert counts.steps_per_second == pytest.approx(sum(lengths) / (5 * 12.5))


def test_nothing_played_is_no_rate_and_the_widest_interval() -> None:
    counts = count([])
    assert counts.success_rate is None and counts.mean_success_length is None
    assert (counts.success_rate_low, counts.success_rate_high) == (0, 1)


def test_the_tables_numbers_are_those_of_the_log(evaluated: tuple[Path, list[EpisodeRecord]]) -> None:
    folder, records = evaluated
    markdown, page = (folder / "summary.md").read_text(), Page(folder / "summary.html")
    content = json.loads((folder / "summary.json").read_text())
    assert content["missing"] == 0
    sections = re.split(r"^## ", markdown, flags=re.MULTILINE)[2 : 2 + len(SETTINGS)]
    for setting, section, result in zip(SETTINGS, sections, content["settings"], strict=True):
        played = [entry for entry in records if entry.setting == setting]
        assert f"| {setting} | {sum(e.success for e in played)}/{len(played)} |" in markdown
        for task in TASKS:
            lengths = [e.length for e in played if e.task == task and e.success]
            n = sum(e.task == task for e in played)
            low, high = (100 * end for end in wilson(len(lengths), n))
            mean = f"{np.mean(lengths):.1f}" if lengths else "–"
            rate = f"{100 * len(lengths) / n:.1f} %"
            cells = [task, str(TASKS.index(task)), f"{len(lengths)}/{n}", rate, f"{low:.1f}–{high:.1f} %", mean]
            assert f"| {' | '.join(cells)} |" in section
            assert result["tasks"][task]["successes"] == len(lengths)
            assert result["tasks"][task]["success_rate_low"] == pytest.approx(low / 100)
        assert str(setting) in page.text
    assert all(task in page.text for task in TASKS)


def test_videos_are_linked_failures_first(evaluated: tuple[Path, list[EpisodeRecord]]) -> None:
    folder, _ = evaluated
    expected = [f"videos/{name}.mp4" for name in (f"{TASKS[1]}_000_failure", f"{TASKS[0]}_001_success")]
    expected.append(f"videos/{TASKS[1]}_012_success.mp4")
    assert Page(folder / "summary.html").videos == expected
    assert re.findall(r"\]\((videos/[^)]+)\)", (folder / "summary.md").read_text()) == expected
    assert all((folder / path).is_file() for path in expected)


def test_plots_of_the_markdown_exist(evaluated: tuple[Path, list[EpisodeRecord]]) -> None:
    folder, _ = evaluated
    plots = re.findall(r"\]\((plots/[^)]+)\)", (folder / "summary.md").read_text())
    assert plots and all((folder / plot).is_file() for plot in plots)
    assert (folder / "summary.html").read_text().count("<svg") == len(plots)


def test_a_partial_evaluation_says_how_many_episodes_are_missing(tmp_path: Path) -> None:
    write_evaluation(tmp_path, episodes=6, played=4)
    write_summary(tmp_path)
    assert "12 of 36 episodes are missing" in (tmp_path / "summary.md").read_text()
    assert json.loads((tmp_path / "summary.json").read_text())["missing"] == 12


def test_an_evaluation_without_any_episode_has_a_summary(tmp_path: Path) -> None:
    write_evaluation(tmp_path, played=0)
    write_summary(tmp_path)
    assert "36 of 36 episodes are missing" in Page(tmp_path / "summary.html").text


def test_failures_are_filmed_before_successes() -> None:
    records = [record(SETTINGS[0], TASKS[0], index, success=index not in (2, 5)) for index in (5, 3, 2, 1)]
    assert [entry.index for entry in choose(records, 3)] == [2, 5, 1]


def test_a_film_is_named_by_what_it_shows_and_the_log_says_when_that_is_new(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class FilmedRunner(Runner):
        """Episode 0 fails this time, episode 1 succeeds again, episode 2 is too short for a frame."""

        def play_evaluation(self, *args: Any, film: Container[int] = ()) -> Iterator[tuple[int, Episode]]:
            frames = [np.zeros((16, 16, 3), np.uint8)]
            yield 0, replace(samples.episode(9, success=False), frames=frames)
            yield 1, replace(samples.episode(9, success=True), frames=frames)
            yield 2, samples.episode(3, success=True)

    records = [record(SETTINGS[0], TASKS[0], index, True) for index in range(3)]
    with caplog.at_level("WARNING"):
        film_task(FilmedRunner(PlanarSimulator()), SimpleNamespace(), SETTINGS[0], TASKS[0], records, tmp_path, 3)
    assert find_films(tmp_path, TASKS) == [Film(TASKS[0], 0, False), Film(TASKS[0], 1, True)]
    differs, too_short = (entry.getMessage() for entry in caplog.records)
    assert "000_failure.mp4: this time it was a failure" in differs
    assert "002_success" in too_short and "too few" in too_short


def test_only_whole_films_of_the_tasks_are_found(tmp_path: Path) -> None:
    film(tmp_path, Film(TASKS[0], 3, False))
    film(tmp_path, Film("another_task", 3, False))
    (tmp_path / "videos" / f"{TASKS[0]}_004_failure.mp4.unfinished").touch()
    assert find_films(tmp_path, TASKS) == [Film(TASKS[0], 3, False)]
