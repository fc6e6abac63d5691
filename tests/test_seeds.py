from itertools import combinations, product

import numpy as np
import torch

from ript.seeds import Word, entropy, numpy_generator, torch_generator

LENGTHS = {
    Word.EVALUATION: 3,
    Word.ROLLOUT: 4,
    Word.LAYOUT: 2,
    Word.STARTS: 3,
    Word.WINDOW: 7,
    Word.BATCHES: 3,
    Word.AUGMENTATION: 7,
    Word.DEMONSTRATED: 4,
    Word.WINDOW_ORDER: 2,
    Word.DEMONSTRATION: 1,
    Word.BOOTSTRAP: 3,
    Word.REFLOW: 7,
    Word.CO_TRAINED: 4,
}


def test_no_two_uses_ever_draw_the_same_numbers() -> None:
    assert LENGTHS.keys() == set(Word)
    drawn = {
        word: {tuple(np.random.SeedSequence(entropy(word, *n)).generate_state(4)) for n in product((0, 1), repeat=k)}
        for word, k in LENGTHS.items()
    }
    assert all(len(drawn[word]) == 2**k for word, k in LENGTHS.items())
    for left, right in combinations(Word, 2):
        assert not drawn[left] & drawn[right], (left, right)


def test_evaluation_keeps_the_noise_it_had_before_there_were_words() -> None:
    before = int(np.random.SeedSequence([5, 2, 17]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    expected = torch.randn(4, generator=torch.Generator().manual_seed(before))
    assert torch.equal(torch.randn(4, generator=torch_generator(entropy(Word.EVALUATION, 5, 2, 17))), expected)


def test_the_same_numbers_draw_the_same_and_others_differ() -> None:
    assert numpy_generator(Word.LAYOUT, 1, 2).integers(2**60) == numpy_generator(Word.LAYOUT, 1, 2).integers(2**60)
    assert numpy_generator(Word.LAYOUT, 1, 2).integers(2**60) != numpy_generator(Word.LAYOUT, 2, 1).integers(2**60)
