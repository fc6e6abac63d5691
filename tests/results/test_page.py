import re
from pathlib import Path

import pytest
from html_outline import Outline

from ript.results.figures import histogram, rows_plot, series_plot
from ript.results.page import Page, Plot, Section, Table, Text, Video, Videos, render_html, render_markdown, write_page


@pytest.fixture(scope="module")
def page() -> Page:
    rows = {"task 0": (50.0, 20.0, 80.0), "task 1": (0.0, 0.0, 30.0)}
    series = {"a": {"1": rows["task 0"], "2": rows["task 1"]}, "b": {"2": (10.0, 5.0, 20.0)}}
    blocks = [
        Text("less < more & <script>alert(1)</script>"),
        Table(("name", "k | n"), [("a|b", "1"), ("<b>", "2")]),
        Plot("one", "Rows.", rows_plot(rows, "success in %", (0, 100))),
        Plot("two", "Rows again.", rows_plot(rows, "success in %", (0, 100))),
        Plot("three", "Lines.", series_plot(["1", "2"], series, "steps", "success in %")),
        Plot("four", "Lengths.", histogram([3, 4, 4], "steps", "successes", (0, 10))),
        Videos([Video("videos/a b#1.mp4", "Failure")]),
    ]
    return Page("Title <1>", [Section("All & sundry", blocks)])


def test_html_is_well_formed_and_escapes_what_it_is_given(page: Page) -> None:
    outline = Outline(render_html(page))
    assert "less < more & <script>alert(1)</script>" in outline.text
    assert "Title <1>" in outline.text and "All & sundry" in outline.text and "a|b" in outline.text
    assert "script" not in [tag for tag, _ in outline.elements]


def test_html_loads_nothing_but_the_videos_beside_it(page: Page) -> None:
    elements = Outline(render_html(page)).elements
    sources = [attrs[key] for _, attrs in elements for key in ("src", "href", "xlink:href") if key in attrs]
    assert [source for source in sources if not str(source).startswith("#")] == ["videos/a%20b%231.mp4"]
    assert next(attrs for tag, attrs in elements if tag == "video").keys() >= {"controls", "src"}


def test_html_follows_light_and_dark_and_fits_a_phone(page: Page) -> None:
    html = render_html(page)
    assert "prefers-color-scheme: dark" in html and 'name="viewport"' in html
    assert "#1d1d1e" not in html[html.index("<svg") :] and "currentColor" in html


def test_ids_are_unique_on_the_page_and_every_reference_has_one(page: Page) -> None:
    html = render_html(page)
    ids = re.findall(r' id="([^"]+)"', html)
    assert ids and len(ids) == len(set(ids))
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', html)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_markdown_has_the_same_tables_and_relative_links(page: Page, tmp_path: Path) -> None:
    write_page(page, tmp_path, "summary")
    markdown = (tmp_path / "summary.md").read_text()
    assert markdown == render_markdown(page)
    assert "| name | k \\| n |\n| --- | ---: |\n| a\\|b | 1 |" in markdown
    for link in re.findall(r"\]\((plots/[^)]+)\)", markdown):
        assert (tmp_path / link).read_bytes().startswith(b"\x89PNG")
    assert markdown.count("](plots/") == 4 and "[Failure](videos/a%20b%231.mp4)" in markdown


def test_a_page_is_the_same_bytes_every_time(page: Page) -> None:
    assert render_html(page) == render_html(page)
