import multiprocessing
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.export_lerobot import export, parse_arguments
from ript.demonstrations.lerobot.reader import LeRobotDataset
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


def test_what_is_read_ahead_is_the_same_stream_whatever_signals_its_readers_get(
    official_file: Path, tmp_path: Path, tiny_policy: PI0_OFT_Policy
) -> None:
    export(parse_arguments(["--data", str(official_file), "--out", str(tmp_path / "dataset"), "--videos"]))
    source = LeRobotDataset(tmp_path / "dataset").of_task("put the bowl on the plate")
    data = DemonstrationWindows([source], tiny_policy.norm_stats)
    here, ahead = WindowLoader(data, 4, seed=3), WindowLoader(data, 4, seed=3, num_workers=1)
    for loader in (here, ahead):
        loader.load_state_dict({"drawn": 4})
    random_state = torch.get_rng_state()
    others = set(multiprocessing.active_children())  # such as the ranks of other tests

    def readers() -> set[multiprocessing.process.BaseProcess]:
        return set(multiprocessing.active_children()) - others

    stream = iter(ahead)
    for number, (read, wanted) in enumerate(zip(stream, here, strict=False)):
        for mine, theirs in zip(read, wanted, strict=True):
            assert (mine.episode_id, mine.start) == (theirs.episode_id, theirs.start)
            np.testing.assert_array_equal(mine.actions, theirs.actions)
            for camera, image in theirs.observation["image"].items():
                np.testing.assert_array_equal(mine.observation["image"][camera], image)
        assert ahead.state_dict() == here.state_dict() == {"drawn": 8 + 4 * number}
        if number == 0:
            for child in readers():
                os.kill(child.pid or 0, signal.SIGINT)
                os.kill(child.pid or 0, signal.SIGTERM)
        if number == 6:
            break
    assert torch.equal(torch.get_rng_state(), random_state)
    assert len(readers()) == 1
    stream.close()
    assert not readers()
