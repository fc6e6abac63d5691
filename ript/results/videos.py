"""Rollout videos, and what their names say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np

from ript.json_files import unfinished

FRAMES_PER_SECOND = 4
_CODEC: dict[str, Any] = {"fps": FRAMES_PER_SECOND, "codec": "libx264", "macro_block_size": 2}
VIDEOS = "videos"
"""The folder of videos within the folder of an evaluation or a run."""


@dataclass(frozen=True)
class Film:
    """A video of an episode; its name says what it shows."""

    task: str
    index: int
    success: bool

    @property
    def name(self) -> str:
        """The file's name without ending."""
        return f"{self.task}_{self.index:03d}_{'success' if self.success else 'failure'}"

    @property
    def caption(self) -> str:
        """What it shows, in words."""
        return f"{'Success' if self.success else 'Failure'}: {self.task}, {self.index}"


def films_in(folder: Path) -> list[Film]:
    """The films in a folder of videos, in no order; a video that was cut off is none."""
    names = [re.fullmatch(r"(.+)_(\d{3,})_(success|failure)", path.stem) for path in folder.glob("*.mp4")]
    return [Film(name[1], int(name[2]), name[3] == "success") for name in names if name]


def write_video(frames: Sequence[np.ndarray], folder: str | Path, name: str) -> Path:
    """Writes (H, W, 3) uint8 frames as an H.264 MP4 that browsers play, whole or not at all; returns its path."""
    path = Path(folder) / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary:  # its name does not say the format
        imageio.imwrite(temporary, np.stack(frames), extension=".mp4", output_params=["-f", "mp4"], **_CODEC)
    return path
