from pathlib import Path

import jobs
import numpy as np
import pytest

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.window_replay import WindowReplay
from ript.storage.windows import Window


@pytest.fixture
def windows(tiny_policy: PI0_OFT_Policy) -> list[Window]:
    return jobs.make_optimizer().make_windows(tiny_policy, jobs.make_episodes(), jobs.ADVANTAGES)


def same(left: Window, right: Window) -> bool:
    images = left.observation["image"].keys() == right.observation["image"].keys() and all(
        np.array_equal(image, right.observation["image"][name]) for name, image in left.observation["image"].items()
    )
    arrays = (
        (left.observation["state"], right.observation["state"]),
        (left.actions, right.actions),
        (left.action_is_pad, right.action_is_pad),
    )
    plain = [(w.advantage, w.episode_id, w.start, w.observation["prompt"]) for w in (left, right)]
    return images and plain[0] == plain[1] and all(np.array_equal(*pair) for pair in arrays)


def test_windows_of_so_many_iterations_are_given_again_with_the_weights_they_had(windows: list[Window]) -> None:
    replay = WindowReplay(2)
    assert len(replay.add(windows[:3], np.full(3, 0.5))) == 3
    assert [entry.weight for entry in replay.add(windows[3:5], np.ones(2))] == [0.5, 0.5, 0.5, 1, 1]
    assert [entry.window.start for entry in replay.add(windows[:1], np.zeros(1))] == [
        *(window.start for window in windows[3:5]),
        windows[0].start,
    ]


def test_one_iteration_is_no_replay(windows: list[Window]) -> None:
    replay = WindowReplay(1)
    replay.add(windows, np.ones(len(windows)))
    assert len(replay.add(windows[:2], np.ones(2))) == 2


@pytest.mark.parametrize("iterations", [1, 2, 3])
def test_a_loaded_replay_goes_on_as_the_saved_one(windows: list[Window], iterations: int, tmp_path: Path) -> None:
    replay, again = WindowReplay(iterations), WindowReplay(iterations)
    for part in (windows[:3], [], windows[3:5]):
        replay.add(part, np.linspace(0.1, 0.9, len(part)))
    replay.save(tmp_path / "replay.safetensors")
    again.load(tmp_path / "replay.safetensors")
    new = windows[:1]
    expected, found = replay.add(new, np.ones(1)), again.add(new, np.ones(1))
    assert [entry.weight for entry in found] == [entry.weight for entry in expected]
    assert all(same(a.window, b.window) for a, b in zip(found, expected, strict=True))
