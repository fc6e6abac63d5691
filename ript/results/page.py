"""A page of results: a title and sections of text, tables, plots and videos, as HTML and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from ript.json_files import write_whole
from ript.results.figures import svg, write_png


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of text; all columns but the first hold numbers, unless `numeric` is False."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: bool = True


@dataclass(frozen=True)
class Plot:
    """A figure with its caption."""

    name: str
    """Its file's name without ending; unique on the page."""
    caption: str
    figure: Figure

    @property
    def svg(self) -> Markup:
        """The figure as an element of the page."""
        return Markup(svg(self.figure, self.name))


@dataclass(frozen=True)
class Video:
    """A video file."""

    path: str
    """Relative to the page."""
    caption: str

    @property
    def url(self) -> str:
        """The path as a relative address."""
        return quote(self.path)


@dataclass(frozen=True)
class Videos:
    """Videos side by side."""

    videos: Sequence[Video]


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    heading: str
    blocks: Sequence[Text | Table | Plot | Videos]


@dataclass(frozen=True)
class Page:
    """Sections under a title."""

    title: str
    sections: Sequence[Section]


def render_html(page: Page) -> str:
    """One HTML document: plots are inline, nothing is loaded from elsewhere but the videos beside it."""
    environment = Environment(
        loader=PackageLoader("ript.results", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    return environment.get_template("page.html").render(page=page)


def render_markdown(page: Page, plots: str = "plots") -> str:
    """The page as Markdown; its plots are `<plots>/<name>.png`."""
    parts = [f"# {page.title}"]
    for section in page.sections:
        parts += [f"## {section.heading}", *(_markdown(block, plots) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def write_page(page: Page, folder: Path, name: str) -> None:
    """Writes `<name>.html`, `<name>.md` and `plots/*.png` into the folder."""
    write_whole(folder / f"{name}.html", render_html(page))
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Plot):
                write_png(block.figure, folder / "plots" / f"{block.name}.png")
    write_whole(folder / f"{name}.md", render_markdown(page))


def _markdown(block: Text | Table | Plot | Videos, plots: str) -> str:
    match block:
        case Text(text):
            return text
        case Plot(name, caption, _):
            return f"![{caption}]({plots}/{name}.png)"
        case Videos(videos):
            return "\n".join(f"- [{video.caption}]({video.url})" for video in videos)
        case Table(header, rows, numeric):
            dashes = ["---"] + ["---:" if numeric else "---"] * (len(header) - 1)
            return "\n".join(_row(cells) for cells in (header, dashes, *rows))


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
