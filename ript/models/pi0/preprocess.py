"""Images and prompts as the network wants them (openpi's conventions)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

CAMERAS = ("base_0_rgb", "left_wrist_0_rgb")
"""The cameras that a policy may look through, by π0's names, in the order in which the network reads them. π0's third,
the right wrist, is none of them. A camera that a robot lacks is left out, which is equal to masking it in attention."""
BOS, PAD = 2, 0


def prepare_images(images: np.ndarray | Sequence[np.ndarray], size: int, device: torch.device) -> Tensor:
    """Images (B, H, W, 3) uint8, or B of sizes of their own (H, W, 3) → (B, 3, size, size): see `prepare_image`."""
    if isinstance(images, np.ndarray | Tensor):
        return prepare_image(torch.as_tensor(images).to(device), size)
    return torch.cat([prepare_image(torch.as_tensor(image)[None].to(device), size) for image in images])


def prepare_image(image: Tensor, size: int) -> Tensor:
    """uint8 (B, H, W, 3) → float (B, 3, size, size) in [-1, 1]; the aspect is kept, the border is -1."""
    if image.dtype != torch.uint8 or image.shape[-1] != 3:
        raise ValueError(f"an image must be uint8 (B, H, W, 3), got {image.dtype} {tuple(image.shape)}")
    pixels = image.permute(0, 3, 1, 2).float() / 255 * 2 - 1
    height, width = pixels.shape[2:]
    if (height, width) == (size, size):
        return pixels
    ratio = max(width / size, height / size)  # in this order: another one rounds to other numbers of rows
    new_height, new_width = int(height / ratio), int(width / ratio)
    pixels = F.interpolate(pixels, (new_height, new_width), mode="bilinear", align_corners=False)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    return F.pad(pixels, (left, size - new_width - left, top, size - new_height - top), value=-1.0)


def clean_prompt(prompt: str) -> str:
    """Strip, and one space for each underscore or line break."""
    return prompt.strip().replace("_", " ").replace("\n", " ")


def state_prompt(prompt: str, state: np.ndarray) -> str:
    """π0.5's prompt with the normalised state (D,) written as 256 levels of [-1, 1] (openpi's format)."""
    levels = np.digitize(state, np.linspace(-1, 1, 257)[:-1]) - 1
    return f"Task: {clean_prompt(prompt)}, State: {' '.join(map(str, levels))};\nAction: "


def load_tokenizer(path: Path) -> Tokenizer:
    """A `tokenizers` file. Raises FileNotFoundError or ValueError naming it."""
    if not path.is_file():
        raise FileNotFoundError(f"tokenizer not found: {path}; set tokenizer_path")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise ValueError(f"{path}: not a tokenizer file ({error})") from error


def check_tokenizer(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Raises ValueError unless every token has an embedding, and "\\n", which ends a π0 prompt, is a token.

    Special tokens may lie beyond the vocabulary, as PaliGemma's own `<image>` does: text does not hold them.
    """
    _newline(tokenizer)
    special = {token for token, entry in tokenizer.get_added_tokens_decoder().items() if entry.special}
    beyond = {i: text for text, i in tokenizer.get_vocab().items() if i >= vocab_size and i not in special}
    if beyond:
        worst = max(beyond)
        raise ValueError(
            f"token {beyond[worst]!r} has id {worst}, but the network has {vocab_size} token embeddings"
            " (the tokenizer is of another model)"
        )


def prepare_prompts(
    prompts: Sequence[str],
    tokenizer: Tokenizer,
    max_length: int,
    states: np.ndarray | None = None,
    vocab_size: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Prompts → token ids (B, L) padded to the longest, and their mask (B, L).

    A row is `[bos] + text + ["\\n"]`; with `states` (B, D) it is `[bos] + state_prompt`. The tokenizer's own special
    tokens are left out: there is one bos. Raises ValueError for a prompt of more than `max_length` tokens, or with
    a token beyond `vocab_size`.
    """
    end = [_newline(tokenizer)] if states is None else []
    rows = []
    for i, prompt in enumerate(prompts):
        text = clean_prompt(prompt) if states is None else state_prompt(prompt, states[i])
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        rows.append([BOS, *ids, *end])
        if len(rows[-1]) > max_length:
            raise ValueError(f"prompt of {len(rows[-1])} tokens, at most {max_length}: {text!r}")
        if vocab_size is not None and (highest := max(rows[-1])) >= vocab_size:
            raise ValueError(f"token {tokenizer.id_to_token(highest)!r} is not for prompts: {text!r}")
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask


def _newline(tokenizer: Tokenizer) -> int:
    newline = tokenizer.token_to_id("\n")
    if newline is None:
        raise ValueError('the tokenizer has no token for "\\n", which ends a π0 prompt')
    return newline
