"""The pages as a browser shows them: a training run's report and an evaluation's summary, of real runs on the plane."""

from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from browser import DESKTOP, PHONE, open_browser, visit
from planar_evaluation import EvaluationRunner, command
from planar_run import planar_config
from selenium.webdriver import Chrome

import ript.evaluation.evaluate as evaluate
from ript.evaluation.__main__ import main
from ript.training.loop import run

pytestmark = pytest.mark.browser

HEADINGS = {
    "Run reported": [
        "The run",
        "Success",
        "Success per task",
        "Losses",
        "Gradients",
        "Time per iteration",
        "Memory",
        "Videos",
    ],
    "Evaluation on planar": ["Success", "2 denoising steps, guidance 1", "Videos", "What was evaluated"],
}
VIDEOS = {"Run reported": 4, "Evaluation on planar": 2}
OPTIONS = (
    "algo.env_runner._target_=planar_evaluation.EvaluationRunner",
    "algo.enable_dynamic_sampling=false",
    "training.n_steps=2",
    "rollout.at_start=true",
    "rollout.n_video=1",
    "logging.report=true",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def pages(chromium: Chrome, tiny_policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Title → page; the browser comes first, so that nothing is run where there is none."""
    folder = tmp_path_factory.mktemp("pages")
    run(planar_config(folder / "reported", tiny_policy_folder, *OPTIONS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "SuiteRunner", EvaluationRunner)
        main(command(tiny_policy_folder, folder / "evaluated", "--videos", "1"))
    return {
        "Run reported": folder / "reported" / "report.html",
        "Evaluation on planar": folder / "evaluated" / "summary.html",
    }


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("title", HEADINGS)
def test_a_page_is_shown_whole(chromium: Chrome, pages: dict[str, Path], title: str, width: int) -> None:
    visit(chromium, pages[title], width)
    assert chromium.title == title and browser.texts(chromium, "h1") == [title]
    headings = browser.texts(chromium, "h2")
    assert [heading for heading in headings if heading != "Diagnoses"] == HEADINGS[title]
    sizes = chromium.execute_script(browser.SVG_SIZES)
    assert sizes and all(100 < w <= width and h > 50 for w, h in sizes)
    assert chromium.execute_script("return innerWidth") == width
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= width
    videos = chromium.execute_script(browser.VIDEO_STATES)
    assert len(videos) == VIDEOS[title]
    assert all(v["error"] is None and v["duration"] > 0 and v["width"] > 0 for v in videos), videos
    assert browser.faults(chromium) == []


def test_what_is_missing_is_noticed(chromium: Chrome, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<title>t</title><video src="gone.mp4"></video><div style="width: 2000px">wide</div>')
    visit(chromium, page, PHONE)
    assert chromium.execute_script(browser.VIDEO_STATES)[0]["error"]
    assert browser.faults(chromium)
    assert chromium.execute_script("return document.documentElement.scrollWidth") > PHONE
