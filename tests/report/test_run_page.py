import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from html_outline import Outline
from run_samples import TASKS, evaluation, film, iteration, sft_iteration, write_run

from ript.report.__main__ import main
from ript.report.run_folder import read_run
from ript.report.run_page import duration, make_page, write_report
from ript.report.run_plots import success_plots
from ript.results.videos import Film

EVALUATIONS = (evaluation(0, (1, 0)), evaluation(10, (4, 2)), evaluation(20, (9, 3)))
LINES = [EVALUATIONS[0], *map(iteration, range(1, 11)), EVALUATIONS[1], *map(iteration, range(11, 21)), EVALUATIONS[2]]


def wilson(k: int, n: int) -> str:
    """The textbook's formula, as a cell."""
    z = 1.959963984540054
    centre = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    return f"{100 * max(centre - half, 0):.1f}–{100 * min(centre + half, 1):.1f} %"


def headings(folder: Path) -> list[str]:
    return [section.heading for section in make_page(read_run(folder)).sections]


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("runs") / "first <1>", LINES)
    write_report(folder)
    return folder


def test_the_pages_numbers_are_those_of_the_metrics(reported: Path) -> None:
    markdown = (reported / "report.md").read_text()
    env_steps = sum(1000 + step for step in range(1, 21))
    for row in (
        f"| environment steps | {env_steps:,} |",
        "| iterations | 20 of 20 |",
        "| wall time | 10 min |",
        "| algorithm | CFGFlowOptimizerPI0 |",
        "| policy | /policies/a |",
        "| tasks | all |",
        "Peak: CPU 1.75 GiB.",
    ):
        assert row in markdown
    first, last = EVALUATIONS[0], EVALUATIONS[2]
    for name, suffix in [*((task, f"/{task}") for task in TASKS), ("all tasks", "")]:
        cells = [name]
        for line in (first, last):
            k, n = line[f"success_count{suffix}"], line[f"rollout_count{suffix}"]
            cells += [f"{k}/{n}", f"{100 * k / n:.1f} %", wilson(k, n)]
        assert f"| {' | '.join(cells)} |" in markdown


def test_the_curves_are_those_of_the_metrics(reported: Path) -> None:
    over_steps, over_time = success_plots(read_run(reported))
    env_steps = np.cumsum([1000 + step for step in range(1, 21)])
    for plot, x, ends in (
        (over_steps, env_steps, (0, env_steps[9], env_steps[19])),
        (over_time, [0.5 * step for step in range(1, 21)], (5 / 60, 5 + 5 / 60, 10 + 5 / 60)),
    ):
        training, evaluated = plot.figure.axes[0].lines[:2]
        np.testing.assert_allclose(training.get_xdata(), x)
        np.testing.assert_allclose(training.get_ydata(), [100 * (step % 9) / 8 for step in range(1, 21)])
        np.testing.assert_allclose(evaluated.get_xdata(), ends)
        np.testing.assert_allclose(evaluated.get_ydata(), [5, 30, 60])


def test_the_page_is_whole_and_needs_nothing_but_the_folder(reported: Path) -> None:
    outline = Outline((reported / "report.html").read_text())
    assert "Run first <1>" in outline.text
    assert all(heading in outline.text for heading in headings(reported))
    sources = [attrs[key] for _, attrs in outline.elements for key in ("src", "href", "xlink:href") if key in attrs]
    assert all(str(source).startswith("#") for source in sources)
    plots = re.findall(r"\]\((plots/[^)]+)\)", (reported / "report.md").read_text())
    assert len(plots) == 6 and all((reported / plot).is_file() for plot in plots)


def test_a_line_that_a_kill_cut_off_changes_nothing(tmp_path: Path, reported: Path) -> None:
    folder = write_run(tmp_path / reported.name, LINES)
    with (folder / "metrics.jsonl").open("a") as log:
        log.write('{"step": 21, "phase": "tr')
    write_report(folder)
    assert (folder / "report.html").read_text() == (reported / "report.html").read_text()


def test_a_run_killed_before_its_first_iteration_has_a_report(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [])
    assert headings(folder) == ["The run"]
    assert "| iterations | 0 of 20 |" in write_report(folder).with_suffix(".md").read_text()


def test_sections_without_data_are_left_out(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "sft", [sft_iteration(step) for step in range(1, 5)])
    assert headings(folder) == ["The run", "Losses", "Gradients", "Time per iteration"]
    assert "environment steps" not in write_report(folder).read_text()


def test_sft_with_evaluations_is_drawn_over_iterations_and_time(tmp_path: Path) -> None:
    lines = [evaluation(0, (0, 0)), *(sft_iteration(step) for step in range(1, 5)), evaluation(4, (1, 2))]
    plots = success_plots(read_run(write_run(tmp_path / "sft", lines)))
    assert [plot.name for plot in plots] == ["success_iterations", "success_time"]


def test_a_single_evaluation_is_a_table_and_no_curve(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [evaluation(0, (1, 2))])
    assert headings(folder) == ["The run", "Success per task"]


def test_a_long_run_is_written_fast_and_small(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "long", [sft_iteration(step) for step in range(1, 10_001)])
    began = time.process_time()
    page = write_report(folder)
    assert time.process_time() - began < 4  # about 1.2 s on a core of its own
    assert page.stat().st_size < 300_000
    assert "Thick: moving average over 501 iterations." in page.read_text()


def test_metrics_that_are_not_finite_are_left_out_of_the_lines(tmp_path: Path) -> None:
    lines = [{**iteration(step), "fm_loss": math.nan if step == 2 else math.inf} for step in range(1, 4)]
    assert "Losses" in write_report(write_run(tmp_path / "run", lines)).read_text()


def test_the_first_and_the_last_filmed_evaluation_are_shown(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", LINES)
    shown = Film(TASKS[0], 3, True)
    first, _, last = (film(folder, step, shown) for step in (0, 10, 20))
    outline = Outline(write_report(folder).read_text())
    assert [attrs["src"] for tag, attrs in outline.elements if tag == "video"] == [first, last]
    assert "The evaluation after 0 iterations." in outline.text and "The evaluation after 20" in outline.text
    assert f"Success: {TASKS[0]}, 3" in outline.text


def test_starts_and_diagnoses_are_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", LINES)
    machine = {"world_size": 2, "cpus": 16, "memory_gib": 128.0, "gpu": "GPU of a test", "versions": {"torch": "2.13"}}
    starts = [{"time": f"2026-01-0{day} 12:00:00", "step": 10 * (day - 1), **machine} for day in (1, 2)]
    (folder / "run.json").write_text(json.dumps({"starts": starts}))
    diagnosis = {"step": 4, "name": "loss_rising", "cause": "it rose", "advice": "lower it"}
    (folder / "diagnosis.jsonl").write_text(json.dumps(diagnosis) + "\n")
    markdown = write_report(folder).with_suffix(".md").read_text()
    for row in (
        "| started | 2026-01-01 12:00:00 |",
        "| resumed | after iteration 10, 2026-01-02 12:00:00 |",
        "| hardware | GPU of a test, 16 CPU cores, 128 GiB of memory |",
        "| 4 | loss_rising | it rose | lower it |",
    ):
        assert row in markdown


@pytest.mark.parametrize(
    ("content", "named"), [(None, "metrics.jsonl"), ('{"step": 1\n{}\n', "line 1: not valid JSON")]
)
def test_a_folder_without_metrics_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, named: str
) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path)])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and error.startswith("error: ") and named in error and error.count("\n") == 1


def test_the_command_refuses_a_folder_that_is_not_there_and_loads_no_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "ript.report", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"error: no such folder: {tmp_path / 'nowhere'}" in done.stderr
    assert not re.search(r"\| +(torch|transformers|mujoco)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize(
    ("seconds", "text"), [(48.4, "48 s"), (150, "2 min"), (7199, "2 h 00 min"), (11_100, "3 h 05 min")]
)
def test_durations_are_easy_to_read(seconds: float, text: str) -> None:
    assert duration(seconds) == text
