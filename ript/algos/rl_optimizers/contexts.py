"""Contexts: what a rollout starts from. A context is a task and one initial simulator state."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ript.checks import one_of, whole_number
from ript.demonstrations.reader import Start
from ript.demonstrations.source import task_instructions, task_sources
from ript.distributed import Distributed
from ript.seeds import Word, entropy, numpy_generator

LAYOUT_SEED = 1_000_000
"""Scene seeds of training contexts start here; those of evaluation are below."""


@dataclass(frozen=True)
class Context:
    """One task in one scene."""

    context_id: int
    """Unique in the run, over all ranks."""
    task_id: int
    scene_seed: int
    """Fixes the placement of fixtures and, without an initial state, that of the objects."""
    init_state: np.ndarray | None = None
    """(D,) float64 flattened simulator state; None keeps the layout drawn from `scene_seed`."""
    visit: int = 0
    """How many contexts of this task came before it."""


class ContextLoader:
    """An endless queue of contexts, dealt to ranks in batches; it goes on where it was saved, on any number of ranks.

    Contexts go round the tasks, `contexts_per_task` at a time. Each is a fresh layout drawn from the task's own
    placement regions, never one of the benchmark's evaluation states. When `starts` has them, each is the start of one
    of the task's demonstrations instead.

    What a rank was dealt and did not play goes back to the queue (`put_back`), so that tasks are played evenly;
    `settle` makes all ranks agree on the queue.

    Args:
        task_ids: the tasks, at least one.
        batch_size: contexts per batch and rank.
        starts: task → where its demonstrations start; None draws layouts.
        contexts_per_task: so many contexts in a row are of one task; simulators take seconds to load another.
    """

    def __init__(
        self,
        task_ids: Sequence[int],
        batch_size: int,
        seed: int = 0,
        starts: Mapping[int, Sequence[Start]] | None = None,
        contexts_per_task: int = 1,
        distributed: Distributed | None = None,
    ):
        if not task_ids:
            raise ValueError("there is no task to draw contexts from")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        whole_number("contexts_per_task", contexts_per_task, 1)
        self.task_ids = list(task_ids)
        self.batch_size, self.seed = batch_size, seed
        self.starts = starts
        self.contexts_per_task = contexts_per_task
        self.distributed = distributed or Distributed()
        self._waiting: list[int] = []
        """Contexts that come before the fresh ones, the same on all ranks."""
        self._fresh = 0
        """The first context that was never dealt, the same on all ranks."""
        self._batches = 0
        """What this rank was dealt since all ranks agreed."""
        self._returned: list[int] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            batch = self.upcoming()
            self._batches += 1
            yield batch

    def upcoming(self) -> dict[str, Any]:
        """The batch that comes next, without taking it."""
        places = self._places(self._batches, self.distributed.rank)
        return collate_contexts([self.context(self._number(place)) for place in places])

    def put_back(self, contexts: Iterable[Context]) -> None:
        """Takes contexts that this rank was dealt and did not play; they will come before fresh ones."""
        self._returned += [context.context_id for context in contexts]

    def settle(self) -> None:
        """All ranks agree on what is still to be played. A collective."""
        parts = self.distributed.gather((self._batches, self._returned))
        dealt = {p for rank, (batches, _) in enumerate(parts) for n in range(batches) for p in self._places(n, rank)}
        end = max(dealt, default=-1) + 1
        left_out = [self._number(place) for place in range(end) if place not in dealt]
        returned = [number for _, numbers in parts for number in numbers]
        later, fresh = self._waiting[end:], self._fresh + max(0, end - len(self._waiting))
        self._waiting, self._fresh = sorted([*left_out, *returned]) + later, fresh
        self._batches, self._returned = 0, []

    def context(self, context_id: int) -> Context:
        """The context with this number: the same in every run with the same seed."""
        turn, within = divmod(context_id, self.contexts_per_task)
        round_, slot = divmod(turn, len(self.task_ids))
        visit = round_ * self.contexts_per_task + within
        task_id = self.task_ids[slot]
        drawn = int(np.random.SeedSequence(entropy(Word.LAYOUT, self.seed, context_id)).generate_state(1)[0] % 2**31)
        scene_seed, init_state = LAYOUT_SEED + drawn, None
        if self.starts is not None:
            start = self._start(task_id, visit)
            init_state = start.init_state
            scene_seed = scene_seed if start.scene_seed is None else start.scene_seed
        return Context(context_id, task_id, scene_seed, init_state, visit)

    def state_dict(self) -> dict[str, Any]:
        """The queue. A collective."""
        self.settle()
        return {"waiting": list(self._waiting), "fresh": self._fresh}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved queue, or from the position that earlier versions saved."""
        self._batches, self._returned = 0, []
        if "position" in state:
            self._waiting, self._fresh = [], state["position"] * state["world_size"] * self.batch_size
        else:
            self._waiting, self._fresh = list(state["waiting"]), state["fresh"]

    def _start(self, task_id: int, visit: int) -> Start:
        assert self.starts is not None
        starts = self.starts[task_id]
        epoch, index = divmod(visit, len(starts))
        order = numpy_generator(Word.STARTS, self.seed, task_id, epoch).permutation(len(starts))
        return starts[order[index]]

    def _places(self, batch: int, rank: int) -> range:
        """Where in the queue a rank's batch lies."""
        first = (batch * self.distributed.world_size + rank) * self.batch_size
        return range(first, first + self.batch_size)

    def _number(self, place: int) -> int:
        waiting = len(self._waiting)
        return self._waiting[place] if place < waiting else self._fresh + place - waiting


def collate_contexts(contexts: Sequence[Context]) -> dict[str, Any]:
    """RIPT's batch of contexts, on the CPU, states in float64:

    `task_id`, `context_id`, `scene_seed`, `visit`, each (B,); `init_state` = {`states` (B, 1, D), `pad_mask` (B, D)}.
    `pad_mask` is True for real entries; a row without any is a context without an initial state.
    """
    width = max(0 if c.init_state is None else len(c.init_state) for c in contexts)
    states = torch.zeros(len(contexts), 1, width, dtype=torch.float64)
    pad_mask = torch.zeros(len(contexts), width, dtype=torch.bool)
    for row, context in enumerate(contexts):
        if context.init_state is not None:
            states[row, 0, : len(context.init_state)] = torch.from_numpy(context.init_state)
            pad_mask[row, : len(context.init_state)] = True
    numbers = {
        key: torch.tensor([getattr(c, key) for c in contexts])
        for key in ("task_id", "context_id", "scene_seed", "visit")
    }
    return {**numbers, "init_state": {"states": states, "pad_mask": pad_mask}}


def split_contexts(batch: Mapping[str, Any]) -> list[Context]:
    """The contexts of a batch; the inverse of `collate_contexts`."""
    return [context_of(batch, row) for row in range(len(batch["task_id"]))]


def context_of(batch: Mapping[str, Any], row: int) -> Context:
    """The context in one row of a batch."""
    mask = batch["init_state"]["pad_mask"][row]
    state = batch["init_state"]["states"][row, 0][mask].double().cpu().numpy() if mask.any() else None
    context_id, task_id, scene_seed, visit = (
        int(batch[key][row]) for key in ("context_id", "task_id", "scene_seed", "visit")
    )
    return Context(context_id, task_id, scene_seed, state, visit)


def context_loader(
    runner: Any,
    distributed: Distributed,
    context_source: Literal["layouts", "demonstrations"],
    demo_batch_size: int,
    seed: int,
    demonstrations: str,
    contexts_per_task: int = 1,
    lerobot_features: Mapping[str, Any] | None = None,
) -> ContextLoader:
    """The contexts of the runner's tasks: fresh layouts, or the start states of their demonstrations (`task_sources`).

    Raises FileNotFoundError or ValueError naming the file.
    """
    one_of("context_source", context_source, ("layouts", "demonstrations"))
    task_ids = {name: runner.benchmark.get_task_id(name) for name in runner.task_names}
    starts = None
    if context_source == "demonstrations":
        sources = task_sources(demonstrations, task_instructions(runner), lerobot_features)
        starts = {task_ids[name]: source.starts() for name, source in sources.items()}
    return ContextLoader(
        list(task_ids.values()), demo_batch_size, seed, starts, contexts_per_task, distributed=distributed
    )
