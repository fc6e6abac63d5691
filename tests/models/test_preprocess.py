"""Images and prompts, against independent implementations of openpi's conventions."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.models.pi0.preprocess import check_tokenizer, prepare_image, prepare_prompts, state_prompt


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear resize of (H, W, 3) with half-pixel centres, edges repeated, no antialiasing."""

    def taps(size: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip((np.arange(new) + 0.5) * size / new - 0.5, 0, None)
        low = np.minimum(at.astype(int), size - 1)
        return low, np.minimum(low + 1, size - 1), at - low

    top, bottom, fy = taps(image.shape[0], height)
    left, right, fx = taps(image.shape[1], width)
    fy, fx = fy[:, None, None], fx[None, :, None]
    upper = image[top][:, left] * (1 - fx) + image[top][:, right] * fx
    lower = image[bottom][:, left] * (1 - fx) + image[bottom][:, right] * fx
    return upper * (1 - fy) + lower * fy


@pytest.mark.parametrize(
    ("height", "width", "size"), [(256, 256, 224), (28, 28, 28), (60, 80, 28), (80, 60, 28), (13, 7, 28)]
)
def test_images_are_resized_with_their_aspect_and_padded_with_black(height: int, width: int, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ratio = max(height / size, width / size)
    inner = bilinear(image / 255.0 * 2 - 1, int(height / ratio), int(width / ratio))
    expected = np.full((size, size, 3), -1.0)
    top, left = (size - inner.shape[0]) // 2, (size - inner.shape[1]) // 2
    expected[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    prepared = prepare_image(torch.from_numpy(image)[None], size)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


@pytest.mark.parametrize(("height", "width", "size", "rows"), [(720, 1280, 224, 126), (94, 94, 96, 96)])
def test_a_resized_image_has_as_many_rows_as_openpis(height: int, width: int, size: int, rows: int) -> None:
    """`size / max(h, w)` first would round 126 down to 125, and a square to one with a border."""
    prepared = prepare_image(torch.full((1, height, width, 3), 255, dtype=torch.uint8), size)
    inside = prepared[0, 0] > 0
    assert (int(inside.any(dim=1).sum()), int(inside.any(dim=0).sum())) == (rows, size)


def test_an_image_that_is_not_uint8_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be uint8"):
        prepare_image(torch.zeros(1, 28, 28, 3), 28)


def gemma_like() -> Tokenizer:
    """Words with Gemma's ids, and a template that adds <bos> by itself."""
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "\n": 108, "bowl": 14581, "the": 573, "up": 908, "pick": 18075}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    return tokenizer


def test_a_prompt_is_bos_text_newline_even_if_the_tokenizer_adds_bos() -> None:
    assert gemma_like().encode("pick up").ids == [2, 18075, 908]
    tokens, mask = prepare_prompts([" pick_up\nthe bowl ", "pick"], gemma_like(), 48)
    assert tokens.tolist() == [[2, 18075, 908, 573, 14581, 108], [2, 18075, 108, 0, 0, 0]]
    assert mask.tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]


def test_a_state_is_written_as_256_levels() -> None:
    state = np.array([-1.5, -1.0, -0.999, 0.0, 0.5, 0.9999, 1.0, 3.0])
    levels = [-1 if s < -1 else min(int((s + 1) * 128), 255) for s in state]
    text = state_prompt("pick_up the bowl\n", state)
    assert text == f"Task: pick up the bowl, State: {' '.join(map(str, levels))};\nAction: "


def test_a_prompt_with_a_state_has_one_bos_and_no_newline_after_it() -> None:
    tokenizer = Tokenizer.from_file(str(DEFAULT_FOLDER / "tokenizer.json"))
    state = np.zeros((1, 8), np.float32)
    tokens, _ = prepare_prompts(["pick up the bowl"], tokenizer, 200, state)
    assert tokens[0].tolist() == [2, *tokenizer.encode(state_prompt("pick up the bowl", state[0])).ids]


def test_a_prompt_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="prompt of 51 tokens, at most 48"):
        prepare_prompts(["pick " * 49], gemma_like(), 48)


def test_a_tokenizer_with_ids_beyond_the_vocabulary_is_refused_by_token_and_id() -> None:
    with pytest.raises(ValueError, match=r"'pick' has id 18075, but the network has 14582 token embeddings"):
        check_tokenizer(gemma_like(), 14582)
    check_tokenizer(gemma_like(), 18076)


def test_a_tokenizer_without_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match=r'no token for "\\n"'):
        check_tokenizer(Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>")), 10)


def test_paligemmas_image_token_may_lie_beyond_but_no_prompt_can_have_it() -> None:
    paligemma = Tokenizer(models.WordLevel({"<pad>": 0, "\n": 1, "pick": 2, "<bos>": 3}, unk_token="<pad>"))
    paligemma.add_special_tokens(["<image>"])
    check_tokenizer(paligemma, 4)
    prepare_prompts(["pick"], paligemma, 48, vocab_size=4)
    with pytest.raises(ValueError, match=r"token '<image>' .* not for prompts"):
        prepare_prompts(["pick <image>"], paligemma, 48, vocab_size=4)
