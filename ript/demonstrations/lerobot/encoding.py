"""Images as they are written into datasets: PNG, or frames of an H.264 video."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

VIDEO = {"codec": "h264", "pix_fmt": "yuv420p"}
"""What the dataset says of its videos."""


class VideoFile:
    """An H.264 video in the making, with a key frame at every second frame, so that any frame is near one."""

    def __init__(self, path: Path, fps: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(str(path), "w")
        self._stream: Any = self._container.add_stream("libx264", rate=Fraction(fps), options={"crf": "18", "g": "2"})
        self._stream.pix_fmt = VIDEO["pix_fmt"]

    def add(self, image: np.ndarray) -> None:
        """The next frame (H, W, 3) uint8."""
        if not self._stream.codec_context.is_open:
            self._stream.height, self._stream.width = image.shape[:2]
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))

    def close(self) -> None:
        """Ends the file."""
        self._container.mux(self._stream.encode())
        self._container.close()


def encode_png(image: np.ndarray) -> bytes:
    """A PNG of an image (H, W, 3) uint8."""
    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(content, "PNG", compress_level=1)
    return content.getvalue()
