"""Heads beside the velocity: the value of an observation, and how much noise a denoising step gets (π_RL)."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ript.models.pi0.config import PADDED_DIM


class ValueHead(nn.Module):
    """An MLP with ReLU on the mean of a token sequence. It starts with values near 0."""

    def __init__(self, width: int, hidden: Sequence[int] = (512, 256, 128)):
        super().__init__()
        last = nn.Linear(hidden[-1], 1)
        nn.init.normal_(last.weight, std=0.02)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*_hidden_layers([width, *hidden], nn.ReLU), last)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens (B, T, width), of which `mask` (B, T) is 1 for the real ones → values (B,)."""
        weights = tokens.new_ones(tokens.shape[:2]) if mask is None else mask.to(tokens.dtype)
        mean = (tokens * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
        return self.mlp(mean).squeeze(-1)


class LogStdHead(nn.Module):
    """An MLP with tanh on each action token, squashed into a range of standard deviations.

    ln σ = ½·(ln σ²_min + (ln σ²_max - ln σ²_min)·(tanh(h) + 1)/2). It starts in the middle: σ = sqrt(σ_min·σ_max).

    Args:
        width: of the expert's tokens.
        noise_logvar_range: σ_min and σ_max, above 0. (The name is the field's; the numbers are standard deviations.)
        hidden: widths of the hidden layers.

    Raises ValueError for a range that is none.
    """

    def __init__(
        self, width: int, noise_logvar_range: Sequence[float] = (0.08, 0.16), hidden: Sequence[int] = (128, 64, 32)
    ):
        super().__init__()
        low, high = noise_logvar_range
        if not 0 < low <= high:
            raise ValueError(f"noise_logvar_range={[low, high]} is not valid: must be two std, above 0 and in order")
        self.log_range = (math.log(low), math.log(high))
        last = nn.Linear(hidden[-1], PADDED_DIM)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(*_hidden_layers([width, *hidden], nn.Tanh), last)

    def forward(self, tokens: Tensor) -> Tensor:
        """Action tokens (B, H, width) → ln σ (B, H, 32)."""
        low, high = self.log_range
        return low + (high - low) * (torch.tanh(self.mlp(tokens)) + 1) / 2


def _hidden_layers(widths: Sequence[int], activation: type[nn.Module]) -> list[nn.Module]:
    """A linear layer and an activation from each width to the next."""
    return [layer for before, after in pairwise(widths) for layer in (nn.Linear(before, after), activation())]
