"""What a gradient step learns from on one rank."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ript.storage.windows import Window


@dataclass(frozen=True)
class Batch:
    """Windows with the weights of their losses. It may be empty: other ranks may have windows."""

    windows: Sequence[Window]
    weight: np.ndarray
    """(B,) of the positive loss."""
    weight_uncond: np.ndarray
    """(B,) of the unconditional loss: 0 for windows that were drawn because they are positive, and for demonstrations,
    since the unconditional branch models what the acting policy does."""
    occurrence: np.ndarray
    """(B,) int: how often the same window stands before it in the step; a window drawn twice has noise of its own."""

    def __len__(self) -> int:
        return len(self.windows)

    def __add__(self, other: "Batch") -> "Batch":
        return Batch(
            [*self.windows, *other.windows],
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.weight_uncond, other.weight_uncond]),
            np.concatenate([self.occurrence, other.occurrence]),
        )

    def __getitem__(self, part: slice) -> "Batch":
        return Batch(self.windows[part], self.weight[part], self.weight_uncond[part], self.occurrence[part])

    def take(self, rows: Sequence[int]) -> "Batch":
        """The windows in these places."""
        chosen = np.asarray(rows, int)
        windows = [self.windows[row] for row in chosen]
        return Batch(windows, self.weight[chosen], self.weight_uncond[chosen], self.occurrence[chosen])

    def weightless(self) -> "Batch":
        """The same windows, from which nothing is learned."""
        return replace(self, weight=np.zeros(len(self)), weight_uncond=np.zeros(len(self)))

    @classmethod
    def empty(cls) -> "Batch":
        """No windows."""
        return cls([], np.zeros(0), np.zeros(0), np.zeros(0, int))

    @classmethod
    def of(cls, windows: Sequence[Window], weight: np.ndarray | None = None) -> "Batch":
        """Windows that occur once and all train the unconditional branch; `weight` None is 1 for all."""
        ones = np.ones(len(windows))
        return cls(windows, ones if weight is None else weight, ones, np.zeros(len(windows), int))


def occurrences(index: np.ndarray) -> np.ndarray:
    """(N,) how often each entry stands before its own place: [7, 3, 7, 7] → [0, 0, 1, 2]."""
    seen: dict[int, int] = {}
    found = []
    for entry in index.tolist():
        found.append(seen.get(entry, 0))
        seen[entry] = found[-1] + 1
    return np.array(found, int)
