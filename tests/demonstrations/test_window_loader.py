from itertools import islice
from typing import Any

import pytest

from ript.demonstrations.window_loader import WindowLoader
from ript.distributed import Distributed

DATA: Any = list(range(10))


def drawn(loader: WindowLoader, batches: int) -> list[Any]:
    return [item for batch in islice(loader, batches) for item in batch]


def test_every_window_comes_once_per_epoch_in_a_new_order() -> None:
    items = drawn(WindowLoader(DATA, 4), 5)
    assert sorted(items[:10]) == sorted(items[10:]) == DATA
    assert items[:10] != items[10:]


def test_ranks_share_an_epoch_between_them() -> None:
    parts = [drawn(WindowLoader(DATA, 1, distributed=Distributed(rank, 2)), 5) for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == DATA


def test_a_batch_may_be_larger_than_the_data() -> None:
    assert len(drawn(WindowLoader(DATA, 25), 1)) == 25


def test_the_stream_goes_on_where_it_was_saved() -> None:
    first, second = WindowLoader(DATA, 3, seed=2), WindowLoader(DATA, 3, seed=2)
    before = drawn(first, 2)
    second.load_state_dict(first.state_dict())
    assert before + drawn(second, 3) == drawn(WindowLoader(DATA, 3, seed=2), 5)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 4)])
def test_an_epoch_goes_on_with_another_number_of_ranks(before: int, after: int) -> None:
    loaders = [WindowLoader(DATA, 1, distributed=Distributed(rank, before)) for rank in range(before)]
    items = [item for loader in loaders for item in drawn(loader, 4 // before)]
    for rank in range(after):
        loader = WindowLoader(DATA, 1, distributed=Distributed(rank, after))
        loader.load_state_dict(loaders[0].state_dict())
        items += drawn(loader, 6 // after + (rank < 6 % after))
    assert sorted(items) == DATA


def test_a_position_of_an_earlier_version_is_understood() -> None:
    loader = WindowLoader(DATA, 3)
    loader.load_state_dict({"position": 2, "world_size": 2})
    assert loader.drawn == 12
