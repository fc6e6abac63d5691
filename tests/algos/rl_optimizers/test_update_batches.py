import numpy as np

from ript.algos.rl_optimizers.update_batches import balanced_batches


def test_a_balanced_epoch_has_each_positive_window_once_and_its_share_in_each_batch() -> None:
    positive = np.zeros(100, bool)
    positive[::5] = True
    batches = balanced_batches(positive, 8, 0.5, np.random.default_rng(0))
    assert len(batches) == 5 and all(len(batch) == 8 for batch in batches)
    firsts = np.concatenate([batch[:4] for batch in batches])
    np.testing.assert_array_equal(np.sort(firsts), np.flatnonzero(positive))
    others = np.concatenate([batch[4:] for batch in batches])
    assert others.min() >= 0 and others.max() < 100 and positive[others].mean() < 0.6


def test_nothing_positive_gives_no_batch() -> None:
    assert balanced_batches(np.zeros(10, bool), 4, 0.5, np.random.default_rng(0)) == []
