"""Batches of demonstration windows, endless, split over ranks, resumable."""

import itertools
import signal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ript.checks import whole_number
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.source import task_instructions, task_sources
from ript.distributed import Distributed
from ript.seeds import Word, numpy_generator
from ript.storage.windows import Window


class WindowLoader:
    """Every window once per epoch, in an order drawn from the seed; epochs follow one another without end.

    It goes on where it was saved on any number of ranks.

    Args:
        dataset: windows by index.
        batch_size: windows per batch and rank.
        num_workers: processes of each rank that read batches ahead, two each; 0 reads in this one, when asked.
    """

    def __init__(
        self,
        dataset: Dataset[Window],
        batch_size: int,
        seed: int = 0,
        distributed: Distributed | None = None,
        num_workers: int = 0,
    ):
        whole_number("batch_size", batch_size, 1)
        whole_number("num_workers", num_workers, 0)
        self.dataset = dataset
        self.count: int = len(dataset)  # type: ignore[arg-type]
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.distributed = distributed or Distributed()
        self.drawn = 0
        """Windows that all ranks together have drawn; what is read ahead is not."""
        self._epoch, self._order = -1, np.zeros(0, int)

    def __iter__(self) -> Iterator[list[Window]]:
        places = self._places()
        read = self._reader(places) if self.num_workers else ([self.dataset[i] for i in own] for own in places)
        for batch in read:
            self.drawn += self.distributed.world_size * self.batch_size
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands."""
        return {"drawn": self.drawn}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from a saved place, or from the position that earlier versions saved."""
        if "position" in state:
            self.drawn = state["position"] * state["world_size"] * self.batch_size
        else:
            self.drawn = state["drawn"]

    def _places(self) -> Iterator[list[int]]:
        """Which windows this rank's batches have, from where the stream stands on."""
        for first in itertools.count(self.drawn, self.distributed.world_size * self.batch_size):
            own = first + self.distributed.rank * self.batch_size
            yield [self._index(own + i) for i in range(self.batch_size)]

    def _reader(self, places: Iterator[list[int]]) -> Iterable[list[Window]]:
        """Reads ahead. Its generator is its own, so that torch's random state does not depend on who reads."""
        loader: DataLoader[Any] = DataLoader(
            self.dataset,
            batch_sampler=places,
            num_workers=self.num_workers,
            collate_fn=list,
            generator=torch.Generator(),
            multiprocessing_context="spawn",
            worker_init_fn=_outlive_signals,
        )
        return loader

    def _index(self, number: int) -> int:
        epoch, place = divmod(number, self.count)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = numpy_generator(Word.WINDOW_ORDER, self.seed, epoch).permutation(self.count)
        return int(self._order[place])


def _outlive_signals(worker: int) -> None:
    """Ctrl-C reaches all processes of a terminal: this one ends with the run, which has an iteration to finish."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def window_loader(
    runner: Any,
    policy: Any,
    distributed: Distributed,
    batch_size: int,
    seed: int,
    demonstrations: str,
    lerobot_features: Mapping[str, Any] | None = None,
    num_workers: int = 0,
) -> WindowLoader:
    """Batches of `demonstration_windows`."""
    dataset = demonstration_windows(runner, policy, demonstrations, lerobot_features)
    return WindowLoader(dataset, batch_size, seed, distributed, num_workers)


def demonstration_windows(
    runner: Any, policy: Any, demonstrations: str, lerobot_features: Mapping[str, Any] | None = None
) -> DemonstrationWindows:
    """Windows of the runner's tasks, as the policy needs them; see `task_sources`.

    Tasks of one instruction share the episodes of a LeRobot dataset that does not tell them apart: they count once.
    Raises FileNotFoundError or ValueError naming file and key, also for one without a camera of the policy's.
    """
    tasks = task_instructions(runner)
    sources = task_sources(demonstrations, tasks, lerobot_features)
    for source in sources.values():
        missing = [camera for camera in policy.card.cameras if camera not in source.robot.cameras]
        if missing:
            raise ValueError(f"{source.path} has no images of the policy's {', '.join(missing)}")
    distinct = {getattr(source, "numbers", source.path): name for name, source in reversed(sources.items())}
    names = [name for name in sources if name in distinct.values()]
    return DemonstrationWindows(
        [sources[name] for name in names],
        policy.norm_stats,
        horizon=policy.chunk_size,
        delta_actions=policy.card.delta_actions,
        prompts=[tasks[name] for name in names],
    )
