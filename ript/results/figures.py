"""Small plots as inline SVG and as PNG, without pyplot and its global state."""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK = "#1d1d1e"
"""Lines and text; in SVG it becomes the page's text colour, so that a plot can be read on light and dark pages."""
PALETTE = ("#3b82c4", "#d9822b", "#3a9d6b", "#b55fb0", "#c7524c", "#8a8f98")
"""Colours of series, readable on light and dark pages."""

Interval = tuple[float, float, float]
"""A value with the low and high end of its interval."""


def new_figure(width: float = 5.2, height: float = 2.8) -> tuple[Figure, Axes]:
    """An empty plot of so many inches, without background."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(INK)
    axes.tick_params(colors=INK, labelsize=9)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=9)
    return figure, axes


def rows_plot(rows: Mapping[str, Interval], xlabel: str, limits: tuple[float, float] | None = None) -> Figure:
    """One value with its interval per row, the first on top."""
    figure, axes = new_figure(height=0.7 + 0.24 * len(rows))
    places = range(len(rows))
    values = [value for value, _, _ in rows.values()]
    axes.errorbar(values, places, xerr=_distances(list(rows.values())), fmt="o", color=PALETTE[0], capsize=3)
    axes.set(yticks=places, yticklabels=list(rows), xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5), xlim=limits)
    return figure


def series_plot(
    ticks: Sequence[str],
    series: Mapping[str, Mapping[str, Interval]],
    xlabel: str,
    ylabel: str,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """One line per series over evenly spaced ticks: series → tick → value with interval; a tick may be missing."""
    figure, axes = new_figure()
    for number, (name, points) in enumerate(series.items()):
        shift = 0.06 * (number - (len(series) - 1) / 2)
        places = [ticks.index(tick) + shift for tick in points]
        values = [value for value, _, _ in points.values()]
        errors = _distances(list(points.values()))
        colour = PALETTE[number % len(PALETTE)]
        axes.errorbar(places, values, yerr=errors, marker="o", capsize=3, color=colour, label=name)
    axes.set(xticks=range(len(ticks)), xticklabels=ticks, xlabel=xlabel, ylabel=ylabel, ylim=limits)
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    return figure


def histogram(values: Sequence[float], xlabel: str, ylabel: str, limits: tuple[float, float]) -> Figure:
    """How often values fall into each of 20 equal bins between the limits."""
    figure, axes = new_figure(height=2.2)
    axes.hist(values, bins=20, range=limits, color=PALETTE[0])
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=limits)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def svg(figure: Figure, name: str) -> str:
    """The figure as an `<svg>` element for a page: its text stays text, in the page's font and colour.

    `name` must be unique on the page: it keeps the element's ids apart from those of other figures.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    element = buffer.getvalue()
    element = re.sub(r"<metadata>.*</metadata>", "", element[element.index("<svg") :], flags=re.DOTALL)
    element = re.sub(r"font-family: [^;\"]*(; )?", "", element)
    # Every figure has the ids that nothing refers to; the others are hashes of the name.
    referred = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", element))
    element = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in referred else "", element)
    return element.replace(INK, "currentColor").strip()


def write_png(figure: Figure, path: Path) -> None:
    """Writes the figure on white, for pages that cannot hold SVG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=120, facecolor="white", metadata={"Software": None})


def _distances(points: Sequence[Interval]) -> list[list[float]]:
    """How far the ends of the intervals are from the values; rounding never makes them negative."""
    below = [max(value - low, 0.0) for value, low, _ in points]
    return [below, [max(high - value, 0.0) for value, _, high in points]]
