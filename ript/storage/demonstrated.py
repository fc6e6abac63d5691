"""Which demonstrated windows a gradient step has: the same ones, however many ranks share them out."""

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from ript.distributed import Distributed
from ript.seeds import Word, numpy_generator
from ript.storage.batch import Batch, occurrences
from ript.storage.windows import Window

FIRST_DEMONSTRATION = 2**40
"""Episode ids of demonstrations start here; those of rollouts are below."""
FIRST_LOGGED = 3 * FIRST_DEMONSTRATION
"""Those of logged episodes, which may have been rollouts of another run, start here."""
FIRST_EPISODE = {Word.DEMONSTRATED: FIRST_DEMONSTRATION, Word.CO_TRAINED: 2 * FIRST_DEMONSTRATION}
"""Each use has ids of its own, and so noise of its own."""


def draw_demonstrated(
    windows: Dataset[Window], count: int, use: Word, seed: tuple[int, ...], distributed: Distributed
) -> Batch:
    """This rank's share of `count` windows that all ranks draw alike, with replacement, from all that each can read.

    They train the positive branch, with weight 1: the unconditional branch models the policy that acted. `seed` is
    (seed, iteration, epoch, step).
    """
    drawn = numpy_generator(use, *seed).integers(len(windows), size=count)  # type: ignore[arg-type]
    own = slice(distributed.rank, None, distributed.world_size)
    mine = [windows[int(i)] for i in drawn[own]]
    numbered = [replace(window, episode_id=FIRST_EPISODE[use] + window.episode_id) for window in mine]
    return Batch(numbered, np.ones(len(mine)), np.zeros(len(mine)), occurrences(drawn)[own])
