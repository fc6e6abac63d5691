"""The windows of the latest iterations, and how gradient steps are dealt from them."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch.utils.data import Dataset

from ript.checks import in_range, whole_number
from ript.distributed import Distributed
from ript.seeds import Word, numpy_generator
from ript.storage.batch import Batch, occurrences
from ript.storage.demonstrated import draw_demonstrated
from ript.storage.window_files import read_windows, write_windows
from ript.storage.windows import Window


@dataclass(frozen=True)
class StoredWindow:
    """A window of a rollout and w(A), the weight of its positive loss, as its own iteration gave it."""

    window: Window
    weight: float


class RolloutStorage:
    """Keeps this rank's windows and deals gradient steps over the windows of all ranks.

    A step is drawn from the windows of all ranks together, by numbers that all ranks draw alike; each rank then takes
    those that it holds. So the gradient is the same however the windows lie on ranks.

    Args:
        replay_iterations: learn from the windows of so many iterations, the newest among them; 1 is on-policy.
        update_batch_size: windows of all ranks per gradient step; None takes all in one step.
        positive_share: share of a step's windows of rollouts that are drawn because their weight is positive; an epoch
            is then one pass over those. The others are drawn from all windows, and they alone train the unconditional
            branch. None takes all windows as they come.
        demonstration_share: share of a step's windows that are demonstrations, of positive weight 1.
        demonstration_windows: what they are drawn from; every rank has all of them.
    """

    def __init__(
        self,
        replay_iterations: int = 1,
        update_batch_size: int | None = None,
        positive_share: float | None = None,
        demonstration_share: float = 0.0,
        demonstration_windows: Dataset[Window] | None = None,
        distributed: Distributed | None = None,
    ):
        whole_number("replay_iterations", replay_iterations, 1)
        whole_number("update_batch_size", update_batch_size, 1)
        in_range("demonstration_share", demonstration_share, 0, 0.9)
        if positive_share is not None:
            in_range("positive_share", positive_share, 0.01, 1)
        for key, value in (("positive_share", positive_share), ("demonstration_share", demonstration_share)):
            if value and update_batch_size is None:
                raise ValueError(f"{key} needs update_batch_size")
        if demonstration_share and demonstration_windows is None:
            raise ValueError("demonstration_share needs demonstration_windows")
        self.update_batch_size, self.positive_share = update_batch_size, positive_share
        self.demonstrations = demonstration_windows
        self.distributed = distributed or Distributed()
        size = update_batch_size or 0
        self._demonstrated = min(max(1, round(size * demonstration_share)), size - 1) if demonstration_share else 0
        self._iterations: deque[list[StoredWindow]] = deque(maxlen=replay_iterations)

    def add(self, windows: Sequence[Window], weights: np.ndarray) -> None:
        """Takes in an iteration's windows with their weights w(A) (N,); the oldest iteration may fall out."""
        self._iterations.append([StoredWindow(*pair) for pair in zip(windows, weights.tolist(), strict=True)])

    def clear(self) -> None:
        """Forgets all windows."""
        self._iterations.clear()

    @property
    def windows(self) -> list[StoredWindow]:
        """All windows that this rank holds, the oldest first."""
        return [stored for iteration in self._iterations for stored in iteration]

    def mini_batches(self, seed: tuple[int, int, int]) -> Iterator[Batch]:
        """This rank's share of each gradient step of an epoch; all ranks yield equally many. A collective.

        `seed` is (seed, iteration, epoch).
        """
        mine = self.windows
        pool = self._pool(mine)
        for step, drawn in enumerate(self._steps(pool.weight, numpy_generator(Word.BATCHES, *seed))):
            held = pool.holder[drawn.number] == self.distributed.rank
            own = drawn.number[held]
            # The mean over the step is then the mean over those that train the branch.
            scale = (len(drawn.number) + self._demonstrated) / max(drawn.unconditional.sum(), 1)
            batch = Batch(
                [mine[place].window for place in pool.place[own]],
                pool.weight[own],
                scale * drawn.unconditional[held],
                occurrences(drawn.number)[held],
            )
            yield batch + self._demonstrations((*seed, step))

    def save(self, path: Path) -> None:
        """Writes what the next iteration will see again: all but the oldest iteration, if they are full.

        Raises ValueError for windows of decisions, which are learned from in their own iteration only.
        """
        most = (self._iterations.maxlen or 1) - 1
        kept = list(self._iterations)[-most:] if most else []
        if any(stored.window.decision is not None for iteration in kept for stored in iteration):
            raise ValueError("replay_iterations must be 1: decisions are learned from in their own iteration only")
        write_windows(
            path,
            [s.window for iteration in kept for s in iteration],
            np.array([s.weight for iteration in kept for s in iteration]),
            [len(iteration) for iteration in kept],
        )

    def load(self, paths: Sequence[Path]) -> None:
        """Restores what all ranks wrote, in the order of ranks; another number of ranks deals the windows anew.

        Raises FileNotFoundError or ValueError naming the file.
        """
        parts = [_by_iteration(path) for path in paths]
        self._iterations.clear()
        if len(paths) == self.distributed.world_size:
            self._iterations.extend(parts[self.distributed.rank])
            return
        for iteration in zip(*parts, strict=True):
            everyone = [stored for part in iteration for stored in part]
            share = np.array_split(np.arange(len(everyone)), self.distributed.world_size)[self.distributed.rank]
            self._iterations.append([everyone[i] for i in share])

    def _pool(self, mine: Sequence[StoredWindow]) -> "_Pool":
        """The windows of all ranks, in an order that does not depend on which rank holds which."""
        keys = [(s.window.episode_id, s.window.start, s.weight) for s in mine]
        parts = self.distributed.gather(np.array(keys, np.float64).reshape(-1, 3))
        episode, start, weight = np.concatenate(parts).T
        holder = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        place = np.concatenate([np.arange(len(part)) for part in parts])
        order = np.lexsort((start, episode))
        return _Pool(holder[order], place[order], weight[order])

    def _steps(self, weights: np.ndarray, rng: np.random.Generator) -> Iterator["_Step"]:
        if not len(weights):
            return
        if self.update_batch_size is None:
            yield _Step.of_everything(np.arange(len(weights)))
            return
        size = self.update_batch_size - self._demonstrated
        if self.positive_share is None:
            order = rng.permutation(len(weights)) if len(weights) > size else np.arange(len(weights))
            yield from (_Step.of_everything(order[first : first + size]) for first in range(0, len(order), size))
        else:
            yield from balanced_steps(weights > 0, size, self.positive_share, rng)

    def _demonstrations(self, seed: tuple[int, ...]) -> Batch:
        """This rank's share of a step's demonstrated windows, drawn with replacement."""
        if not self._demonstrated or self.demonstrations is None:
            return Batch.empty()
        return draw_demonstrated(self.demonstrations, self._demonstrated, Word.DEMONSTRATED, seed, self.distributed)


class _Pool(NamedTuple):
    """The windows of all ranks, each (N,)."""

    holder: np.ndarray
    """The rank that has it."""
    place: np.ndarray
    """Its place among that rank's windows."""
    weight: np.ndarray


class _Step(NamedTuple):
    """What a gradient step learns from, over all ranks."""

    number: np.ndarray
    """(B,) numbers of windows."""
    unconditional: np.ndarray
    """(B,) bool, whether it trains the unconditional branch."""

    @classmethod
    def of_everything(cls, index: np.ndarray) -> "_Step":
        """Windows in their own proportion: all train the unconditional branch."""
        return cls(index, np.ones(len(index), bool))


def balanced_steps(positive: np.ndarray, size: int, positive_share: float, rng: np.random.Generator) -> Iterator[_Step]:
    """Steps of `size` windows: every positive one once, `positive_share` of each step, the rest drawn from all.

    `positive` is (N,) bool. The rest alone trains the unconditional branch, since it alone has the proportions of the
    policy that acted. Without a positive window there is no step.
    """
    order = rng.permutation(np.flatnonzero(positive))
    per_step = max(1, round(size * positive_share))
    for first in range(0, len(order), per_step):
        chosen = order[first : first + per_step]
        rest = rng.integers(len(positive), size=size - per_step)
        yield _Step(np.concatenate([chosen, rest]), np.arange(len(chosen) + len(rest)) >= len(chosen))


def _by_iteration(path: Path) -> list[list[StoredWindow]]:
    windows, weights, counts = read_windows(path)
    stored = iter([StoredWindow(*pair) for pair in zip(windows, weights.tolist(), strict=True)])
    return [[next(stored) for _ in range(count)] for count in counts]
