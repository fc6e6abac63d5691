"""Counted randomness: every random number is drawn from what it belongs to, never from a stream that goes on.

So nothing depends on which process, rank or micro-batch a number is drawn in, and a resumed run draws what the whole
one drew. Each use has a word of its own, so that equal numbers of two uses (iteration 3 and task 3) are other seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


class Word(IntEnum):
    """What a seed is for: the last number of its entropy.

    NumPy fills short entropy up with zeros, so a word is no zero, and too large to be a counter. Evaluation's alone is
    0: episodes evaluated before there were words are played again with the same noise.
    """

    EVALUATION = 0
    """Noise of an evaluation rollout: (seed, task, index)."""
    ROLLOUT = 0x9A00_0001
    """Noise of a training rollout: (seed, iteration, context, member)."""
    LAYOUT = 0x9A00_0002
    """Scene of a training context: (seed, context)."""
    STARTS = 0x9A00_0003
    """Order of a task's demonstrated starts: (seed, task, epoch)."""
    WINDOW = 0x9A00_0004
    """Noise and time of a window: (seed, iteration, epoch, step, episode, start, occurrence)."""
    BATCHES = 0x9A00_0005
    """Which windows a gradient step has: (seed, iteration, epoch)."""
    AUGMENTATION = 0x9A00_0006
    """Shift and colour of a window's images: as for WINDOW."""
    DEMONSTRATED = 0x9A00_0007
    """Which demonstrated windows a gradient step has: (seed, iteration, epoch, step)."""
    WINDOW_ORDER = 0x9A00_0008
    """Order of a dataset's windows: (seed, epoch)."""
    DEMONSTRATION = 0x9A00_0009
    """Noise on a demonstration's actions: (scene seed,)."""
    BOOTSTRAP = 0x9A00_000A
    """Noise of the value of what an episode ended at: (seed, iteration, episode)."""
    REFLOW = 0x9A00_000B
    """Time of a window's reflow loss: as for WINDOW."""
    CO_TRAINED = 0x9A00_000C
    """Which demonstrated windows a gradient step is co-trained on: (seed, iteration, epoch, step)."""


def entropy(word: Word, *numbers: int) -> list[int]:
    """The numbers with their word, as entropy of NumPy's generators."""
    return [*map(int, numbers), int(word)]


def numpy_generator(word: Word, *numbers: int) -> np.random.Generator:
    """NumPy's generator for these numbers."""
    return np.random.default_rng(entropy(word, *numbers))


def torch_generator(seeds: Sequence[int]) -> torch.Generator:
    """Torch's generator on the CPU, from `entropy(…)`."""
    import torch  # here, since simulator processes draw seeds too and need no torch

    return torch.Generator().manual_seed(int(np.random.SeedSequence(list(seeds)).generate_state(1, np.uint64)[0] >> 1))
