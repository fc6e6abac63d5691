"""Rollout videos."""

from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

FRAMES_PER_SECOND = 4


def write_video(frames: Sequence[np.ndarray], folder: str | Path, name: str) -> Path:
    """Writes (H, W, 3) uint8 frames as an H.264 MP4 that browsers play, whole or not at all; returns its path."""
    path = Path(folder) / f"{name}.mp4"
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"unfinished_{path.name}")
    imageio.imwrite(unfinished, np.stack(frames), fps=FRAMES_PER_SECOND, codec="libx264", macro_block_size=2)
    unfinished.replace(path)
    return path
