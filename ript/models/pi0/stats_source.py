"""Where a policy's normalisation statistics are: openpi's file, LeRobot's processors, or among the weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ript.json_files import read_json
from ript.models.pi0.folders import holds_weights
from ript.models.pi0.lerobot import PREPROCESSOR, read_buffer_stats, read_processor_stats
from ript.models.pi0.weights_file import WeightsFile

NORM_STATS = "norm_stats.json"


@dataclass(frozen=True)
class StatsSource:
    """Statistics as they were found; the folder may be gone when the policy is saved."""

    path: Path
    """The file that they are in."""
    text: str
    """openpi's file of them."""
    content: dict[str, Any]
    """The same, parsed."""
    saved_as: Path = Path(NORM_STATS)
    """Where in a policy folder they are written: where the original tool, and this one, looks for them."""


def find_stats(folder: Path, given: Path | None = None) -> StatsSource:
    """The statistics in the file `given`, else those of the policy folder.

    Raises FileNotFoundError or ValueError naming the files, and `norm_stats_path` where that helps.
    """
    if given is not None:
        return _from_file(given, folder)
    files = [p for p in (folder / NORM_STATS, *sorted(folder.glob(f"assets/**/{NORM_STATS}"))) if p.is_file()]
    if len(files) > 1:
        raise ValueError(f"several norm stats in {folder}, set norm_stats_path to one of: {', '.join(map(str, files))}")
    if files:
        return _from_file(files[0], folder)
    if (content := read_processor_stats(folder)) is not None:
        return _converted(folder / PREPROCESSOR, content)
    if holds_weights(folder):
        file = WeightsFile.open_folder(folder)
        if (content := read_buffer_stats(file)) is not None:
            return _converted(file.path, content)
    raise FileNotFoundError(
        f"no {NORM_STATS} in {folder} or below {folder / 'assets'}, no {PREPROCESSOR}, and no statistics among the "
        "weights; set norm_stats_path"
    )


def _from_file(path: Path, folder: Path) -> StatsSource:
    content = read_json(path, "norm stats")
    inside = path.name == NORM_STATS and path.is_relative_to(folder / "assets")
    saved_as = path.relative_to(folder) if inside else Path(NORM_STATS)
    return StatsSource(path, path.read_text(), content, saved_as)


def _converted(path: Path, content: dict[str, Any]) -> StatsSource:
    return StatsSource(path, json.dumps(content, indent=2) + "\n", content)
