"""Image augmentation: random shifts and colour jitter, on uint8 images."""

from dataclasses import replace

import numpy as np

from ript.checks import in_range, whole_number
from ript.seeds import Word, numpy_generator
from ript.storage.batch import Batch
from ript.storage.windows import Window


class Augmentation:
    """Shifts and recolours a window's images; the same numbers for the same window and seed.

    Args:
        shift: largest shift in pixels along each axis; the border is repeated. Each camera has its own.
        jitter: largest relative change of brightness and of contrast; both cameras share it, as they share the light.
    """

    def __init__(self, shift: int = 4, jitter: float = 0.2):
        whole_number("shift", shift, 0)
        in_range("jitter", jitter, 0, 1)
        self.shift, self.jitter = shift, jitter

    @property
    def changes(self) -> bool:
        """Whether images are changed at all."""
        return bool(self.shift or self.jitter)

    def batch(self, batch: Batch, seed: tuple[int, ...]) -> Batch:
        """The batch with changed images; the given windows stay as they are."""
        if not self.changes:
            return batch
        pairs = zip(batch.windows, batch.occurrence.tolist(), strict=True)
        return replace(
            batch, windows=[self._window(window, (*seed, window.episode_id, window.start, n)) for window, n in pairs]
        )

    def _window(self, window: Window, seed: tuple[int, ...]) -> Window:
        rng = numpy_generator(Word.AUGMENTATION, *seed)
        brightness, contrast = 1 + rng.uniform(-self.jitter, self.jitter, 2)
        images = {
            name: recolour(shifted(image, *rng.integers(-self.shift, self.shift + 1, 2)), brightness, contrast)
            for name, image in window.observation["image"].items()
        }
        return replace(window, observation={**window.observation, "image": images})


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """(H, W, 3) moved by whole pixels, the border repeated."""
    rows = np.clip(np.arange(image.shape[0]) - down, 0, image.shape[0] - 1)
    columns = np.clip(np.arange(image.shape[1]) - right, 0, image.shape[1] - 1)
    return image[rows[:, None], columns]


def recolour(image: np.ndarray, brightness: float, contrast: float) -> np.ndarray:
    """(H, W, 3) uint8: contrast around the image's mean, then brightness."""
    mean = image.mean()
    table = np.clip(((np.arange(256) - mean) * contrast + mean) * brightness, 0, 255).astype(np.uint8)
    return table[image]
