"""Which windows each gradient step learns from."""

from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from ript.checks import in_range, whole_number
from ript.distributed import Distributed
from ript.storage.windows import Window

FIRST_DEMONSTRATION = 2**40
"""Episode ids of demonstrations start here; those of rollouts are below."""


class UpdateBatches:
    """Splits an iteration's windows into gradient steps, this rank's share of each.

    Args:
        size: windows of all ranks per gradient step; None takes all in one step.
        positive_share: share of each rank's windows of rollouts that have a positive weight; an epoch is then one pass
            over those. None takes all windows as they come.
        demonstration_share: share of a step's windows that are demonstrations; needs `demonstrations` to be set.
    """

    def __init__(
        self,
        size: int | None,
        positive_share: float | None,
        demonstration_share: float,
        distributed: Distributed,
    ):
        whole_number("update_batch_size", size, 1)
        in_range("demonstration_share", demonstration_share, 0, 0.9)
        if positive_share is not None:
            in_range("positive_share", positive_share, 0.01, 1)
        for key, value in (("positive_share", positive_share), ("demonstration_share", demonstration_share)):
            if value and size is None:
                raise ValueError(f"{key} needs update_batch_size")
        self.positive_share, self.distributed = positive_share, distributed
        self.demonstrations: Dataset[Window] | None = None
        """What `demonstration_share` draws from."""
        share = None if size is None else max(1, size // distributed.world_size)
        self._demonstrated = 0 if share is None else round(share * demonstration_share)
        self._share = None if share is None else max(1, share - self._demonstrated)

    def epoch(self, weights: np.ndarray, seed: tuple[int, ...]) -> list[np.ndarray]:
        """The windows of rollouts of each gradient step, as indices of their `weights` (N,)."""
        rng = np.random.default_rng([*seed, self.distributed.rank])
        most = self.distributed.max(len(weights))
        if self._share is None:
            return [np.arange(len(weights))] if most else []
        if self.positive_share is not None:
            return balanced_batches(weights > 0, self._share, self.positive_share, rng)
        order = rng.permutation(len(weights)) if most > self._share else np.arange(len(weights))
        return [order[first : first + self._share] for first in range(0, len(order), self._share)]

    def demonstrated(self, seed: tuple[int, ...]) -> list[Window]:
        """The demonstrated windows of a gradient step, drawn with replacement."""
        if not self._demonstrated:
            return []
        if self.demonstrations is None:
            raise RuntimeError("demonstration_share is set, but there are no demonstrations")
        rng = np.random.default_rng([*seed, self.distributed.rank])
        drawn = rng.integers(len(self.demonstrations), size=self._demonstrated)  # type: ignore[arg-type]
        windows = [self.demonstrations[int(i)] for i in drawn]
        return [replace(window, episode_id=FIRST_DEMONSTRATION + window.episode_id) for window in windows]


def balanced_batches(
    positive: np.ndarray, size: int, positive_share: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Indices of batches of `size`: every positive window once, `positive_share` of each batch, the rest from all.

    `positive` is (N,) bool. Without a positive window there is no batch.
    """
    order = rng.permutation(np.flatnonzero(positive))
    per_batch = max(1, round(size * positive_share))
    return [
        np.concatenate([order[first : first + per_batch], rng.integers(len(positive), size=size - per_batch)])
        for first in range(0, len(order), per_batch)
    ]
