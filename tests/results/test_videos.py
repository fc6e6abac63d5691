from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from ript.results.videos import info, with_text, write_video

REWARDS = np.array([0.0] * 11 + [1.0])


def test_each_frame_says_its_step_and_the_reward_up_to_there_and_the_last_how_it_ended() -> None:
    assert info(2, REWARDS, True, every=5) == [("step 5 of 12", "reward 0"), ("step 12 of 12", "reward 1 success")]
    assert info(1, np.full(5, 0.5), False, every=5) == [("step 5 of 5", "reward 2.5 failure")]


@pytest.mark.parametrize("side", [96, 224, 256])
def test_text_is_below_the_image_and_covers_nothing_of_it(side: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    first, second = (with_text(frame, lines) for lines in info(2, REWARDS, True, every=5))
    assert (first[:side] == frame).all() and (second[:side] == frame).all()
    assert first[side:].max() > 200 and (first[side:] != second[side:]).any()
    assert first.shape[1] == side and first.shape[0] % 2 == 0  # H.264 wants even sides
    assert not first[side:, -1].any() and not second[side:, -1].any()  # no text is cut off


def test_a_video_with_text_plays(tmp_path: Path) -> None:
    frames = [np.full((96, 96, 3), 100, np.uint8)] * 2
    shown = [with_text(frame, lines) for frame, lines in zip(frames, info(2, REWARDS, True, 5), strict=True)]
    path = write_video(shown, tmp_path, "film")
    assert imageio.imread(path).shape == (2, *shown[0].shape)
