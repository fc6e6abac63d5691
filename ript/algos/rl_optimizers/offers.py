"""The contexts that a rollout generator may play, batch by batch."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ript.algos.rl_optimizers.contexts import Context, split_contexts


class Offer(NamedTuple):
    """A context that may be played, and where it came from."""

    context: Context
    batch: Mapping[str, Any]
    row: int


class Offers:
    """The contexts of some tasks, batch by batch."""

    def __init__(self, batches: Iterator[Mapping[str, Any]], task_ids: Sequence[int]):
        self._batches, self._task_ids = batches, task_ids
        self.left: deque[Offer] = deque()
        """Of the batches drawn so far, those not taken."""
        self.taken: list[Offer] = []

    @property
    def are_used_up(self) -> bool:
        """No context is left; draws the next batch if it must."""
        while not self.left:
            batch = next(self._batches, None)
            if batch is None:
                return True
            rows = [Offer(context, batch, row) for row, context in enumerate(split_contexts(batch))]
            self.left.extend(offer for offer in rows if offer.context.task_id in self._task_ids)
        return False

    def take(self, most: int) -> list[Offer]:
        """The next contexts of the batches drawn so far: one at least."""
        taken = [self.left.popleft() for _ in range(min(most, len(self.left)))]
        self.taken += taken
        return taken
