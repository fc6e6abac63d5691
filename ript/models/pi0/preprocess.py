"""Images and prompts as the network wants them (openpi's conventions)."""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

CAMERAS = ("base_0_rgb", "left_wrist_0_rgb")
"""The cameras of a LIBERO robot, by π0's names; its third, the right wrist, is left out (equal to masking it)."""
BOS, PAD = 2, 0


def prepare_image(image: Tensor, size: int) -> Tensor:
    """uint8 (B, H, W, 3) → float (B, 3, size, size) in [-1, 1]; the aspect is kept, the border is -1."""
    if image.dtype != torch.uint8 or image.shape[-1] != 3:
        raise ValueError(f"an image must be uint8 (B, H, W, 3), got {image.dtype} {tuple(image.shape)}")
    pixels = image.permute(0, 3, 1, 2).float() / 255 * 2 - 1
    height, width = pixels.shape[2:]
    if (height, width) == (size, size):
        return pixels
    scale = size / max(height, width)
    new_height, new_width = int(height * scale), int(width * scale)
    pixels = F.interpolate(pixels, (new_height, new_width), mode="bilinear", align_corners=False)
    top, left = (size - new_height) // 2, (size - new_width) // 2
    return F.pad(pixels, (left, size - new_width - left, top, size - new_height - top), value=-1.0)


def clean_prompt(prompt: str) -> str:
    """Strip, and one space for each underscore or line break."""
    return prompt.strip().replace("_", " ").replace("\n", " ")


def prepare_prompts(prompts: Sequence[str], tokenizer: Tokenizer, max_length: int) -> tuple[Tensor, Tensor]:
    """Prompts → token ids (B, L) `[bos] + text + ["\\n"]` padded to the longest, and their mask (B, L).

    Raises ValueError for a prompt of more than `max_length` tokens.
    """
    newline = tokenizer.token_to_id("\n")
    if newline is None:
        raise ValueError('the tokenizer has no token for "\\n", which ends a π0 prompt')
    rows = []
    for prompt in prompts:
        text = tokenizer.encode(clean_prompt(prompt), add_special_tokens=False).ids
        rows.append([BOS, *text, newline])
        if len(rows[-1]) > max_length:
            raise ValueError(f"prompt of {len(rows[-1])} tokens, at most {max_length}: {prompt!r}")
    longest = max(map(len, rows))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return tokens, mask
