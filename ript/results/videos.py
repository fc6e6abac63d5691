"""Rollout videos, and what their names say."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ript.json_files import unfinished

FRAMES_PER_SECOND = 4
_CODEC: dict[str, Any] = {"fps": FRAMES_PER_SECOND, "codec": "libx264", "macro_block_size": 2}
VIDEOS = "videos"
"""The folder of videos within the folder of an evaluation or a run."""
TRAINING = "training"
"""Within an iteration's folder: the videos of rollouts that it learned from."""


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


def step_folder(step: int) -> str:
    """The folder of an iteration's videos, within `VIDEOS`."""
    return f"step_{step:06d}"


def info(frames: int, rewards: np.ndarray, success: bool, every: int) -> list[tuple[str, str]]:
    """Two lines of text for each of so many frames, taken after every so many of the episode's steps.

    The step, and the sum of the rewards up to there. The last frame says how the episode ended: at its end, a few steps
    after the frame was taken.
    """
    steps = [*range(every, every * frames, every), len(rewards)]
    lines = [(f"step {step} of {len(rewards)}", f"reward {rewards[:step].sum():g}") for step in steps]
    return [*lines[:-1], (lines[-1][0], f"{lines[-1][1]} {'success' if success else 'failure'}")]


def with_text(frame: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """The frame (H, W, 3) uint8 with lines of text below it: nothing of the image is covered."""
    height, width = frame.shape[:2]
    size = max(10, height // 16)
    canvas = Image.new("RGB", (width, height + 2 * (len(lines) * (size + 4) // 2)))
    canvas.paste(Image.fromarray(frame))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size)
    for number, line in enumerate(lines):
        draw.text((2, height + number * (size + 4)), line, font=font)
    return np.asarray(canvas)


def write_video(frames: Sequence[np.ndarray], folder: str | Path, name: str) -> Path:
    """Writes (H, W, 3) uint8 frames as an H.264 MP4 that browsers play, whole or not at all; returns its path."""
    path = Path(folder) / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary:  # its name does not say the format
        imageio.imwrite(temporary, np.stack(frames), extension=".mp4", output_params=["-f", "mp4"], **_CODEC)
    return path
