"""Contexts: what a rollout starts from. A context is a task and one initial simulator state."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ript.checks import one_of, whole_number
from ript.demonstrations.reader import Demonstrations, Start
from ript.distributed import Distributed

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


class ContextLoader:
    """An endless stream of batches of contexts, split over ranks, that continues where it was saved.

    Contexts go round the tasks, `contexts_per_task` at a time. Each is a fresh layout drawn from the task's own
    placement regions, never one of the benchmark's evaluation states. When `starts` has them, each is the start of one
    of the task's demonstrations instead.

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
        rank: int = 0,
        world_size: int = 1,
        starts: Mapping[int, Sequence[Start]] | None = None,
        contexts_per_task: int = 1,
    ):
        if not task_ids:
            raise ValueError("there is no task to draw contexts from")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        whole_number("contexts_per_task", contexts_per_task, 1)
        self.task_ids = list(task_ids)
        self.batch_size = batch_size
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.starts = starts
        self.contexts_per_task = contexts_per_task
        self.position = 0
        """Batches this rank has drawn."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while True:
            first = (self.position * self.world_size + self.rank) * self.batch_size
            self.position += 1
            yield collate_contexts([self.context(first + i) for i in range(self.batch_size)])

    def context(self, context_id: int) -> Context:
        """The context with this number: the same in every run with the same seed."""
        turn, within = divmod(context_id, self.contexts_per_task)
        round_, slot = divmod(turn, len(self.task_ids))
        visit = round_ * self.contexts_per_task + within
        task_id = self.task_ids[slot]
        scene_seed = LAYOUT_SEED + int(np.random.SeedSequence([self.seed, context_id]).generate_state(1)[0] % 2**31)
        if self.starts is None:
            return Context(context_id, task_id, scene_seed)
        starts = self.starts[task_id]
        epoch, index = divmod(visit, len(starts))
        order = np.random.default_rng([self.seed, task_id, epoch]).permutation(len(starts))
        start = starts[order[index]]
        return Context(
            context_id, task_id, scene_seed if start.scene_seed is None else start.scene_seed, start.init_state
        )

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from a saved position."""
        self.position = state["position"]


def collate_contexts(contexts: Sequence[Context]) -> dict[str, Any]:
    """RIPT's batch of contexts, on the CPU, states in float64:

    `task_id` (B,), `context_id` (B,), `scene_seed` (B,), `init_state` = {`states` (B, 1, D), `pad_mask` (B, D)}, where
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
        key: torch.tensor([getattr(c, key) for c in contexts]) for key in ("task_id", "context_id", "scene_seed")
    }
    return {**numbers, "init_state": {"states": states, "pad_mask": pad_mask}}


def split_contexts(batch: Mapping[str, Any]) -> list[Context]:
    """The contexts of a batch; the inverse of `collate_contexts`."""
    contexts = []
    for row in range(len(batch["task_id"])):
        mask = batch["init_state"]["pad_mask"][row]
        state = batch["init_state"]["states"][row, 0][mask].double().cpu().numpy() if mask.any() else None
        context_id, task_id, scene_seed = (int(batch[key][row]) for key in ("context_id", "task_id", "scene_seed"))
        contexts.append(Context(context_id, task_id, scene_seed, state))
    return contexts


def context_loader(
    runner: Any,
    policy: Any,
    distributed: Distributed,
    *,
    source: Literal["layouts", "demonstrations"],
    batch_size: int,
    seed: int,
    demonstrations: str,
    contexts_per_task: int = 1,
) -> ContextLoader:
    """The contexts of the runner's tasks: fresh layouts, or the start states of `<demonstrations>/<task>_demo.hdf5`.

    `policy` is what other loaders need; contexts do not depend on it. Raises FileNotFoundError or ValueError naming
    the file.
    """
    one_of("context_source", source, ("layouts", "demonstrations"))
    task_ids = {name: runner.benchmark.get_task_id(name) for name in runner.task_names}
    starts = None
    if source == "demonstrations":
        files = {task_id: Path(demonstrations) / f"{name}_demo.hdf5" for name, task_id in task_ids.items()}
        starts = {task_id: Demonstrations(file).starts() for task_id, file in files.items()}
    return ContextLoader(
        list(task_ids.values()),
        batch_size,
        seed,
        distributed.rank,
        distributed.world_size,
        starts,
        contexts_per_task,
    )
