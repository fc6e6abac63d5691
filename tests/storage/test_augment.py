from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from samples import episode

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.models.pi0.norm_stats import NormStats
from ript.storage.augment import Augmentation, recolour, shifted
from ript.storage.batch import Batch
from ript.storage.windows import Window, WindowCutter

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)


def windows() -> list[Window]:
    return list(WindowCutter().cut(episode(100), 1.0, NormStats.load(DEFAULT_FOLDER / "norm_stats.json")))


def changed(augmentation: Augmentation, given: list[Window], seed: tuple[int, ...]) -> Sequence[Window]:
    return augmentation.batch(Batch.of(given), seed).windows


def test_a_shift_moves_the_picture_and_repeats_the_border() -> None:
    moved = shifted(IMAGE, 2, -1)
    np.testing.assert_array_equal(moved[2:, :-1], IMAGE[:-2, 1:])
    np.testing.assert_array_equal(moved[0, :-1], IMAGE[0, 1:])
    np.testing.assert_array_equal(moved[2:, -1], IMAGE[:-2, -1])


def test_recolouring_is_its_formula_within_rounding_and_never_wraps() -> None:
    expected = np.clip(((IMAGE - IMAGE.mean()) * 1.2 + IMAGE.mean()) * 0.9, 0, 255)
    assert np.abs(recolour(IMAGE, 0.9, 1.2) - expected).max() <= 1
    assert recolour(np.full((2, 2, 3), 250, np.uint8), 1.2, 1.0).min() == 255


def test_nothing_to_change_changes_nothing() -> None:
    for before, after in zip(windows(), changed(Augmentation(0, 0.0), windows(), (0,)), strict=True):
        for name, image in before.observation["image"].items():
            np.testing.assert_array_equal(after.observation["image"][name], image)


def test_the_change_depends_on_seed_and_window_alone() -> None:
    augmentation = Augmentation(4, 0.2)
    first = changed(augmentation, windows(), (0, 1))
    alone = changed(augmentation, windows()[1:], (0, 1))
    other = changed(augmentation, windows(), (0, 2))
    image = first[1].observation["image"]["base_0_rgb"]
    np.testing.assert_array_equal(alone[0].observation["image"]["base_0_rgb"], image)
    assert (other[1].observation["image"]["base_0_rgb"] != image).any()


def test_a_window_that_comes_twice_is_changed_in_two_ways() -> None:
    batch = replace(Batch.of(windows()[:1] * 2), occurrence=np.array([0, 1]))
    first, second = (w.observation["image"]["base_0_rgb"] for w in Augmentation(4, 0.2).batch(batch, (0,)).windows)
    assert (first != second).any()


def test_the_given_windows_stay_as_they_are() -> None:
    given = windows()
    before = given[0].observation["image"]["base_0_rgb"].copy()
    changed(Augmentation(4, 0.5), given, (0,))
    np.testing.assert_array_equal(given[0].observation["image"]["base_0_rgb"], before)


@pytest.mark.parametrize(("shift", "jitter"), [(-1, 0.1), (1, 1.5), (0.5, 0.1)])
def test_bad_options_are_refused(shift: int, jitter: float) -> None:
    with pytest.raises(ValueError, match="is not valid"):
        Augmentation(shift, jitter)
