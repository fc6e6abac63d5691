"""The condition "good" or "unconditional", added to the suffix in one of three ways (CFGRL, arXiv 2505.23458)."""

import torch
from torch import Tensor, nn

from ript.checks import one_of

CONDITION_MODES = ("concat", "bias", "token")
CONDITION_WIDTH = 32
UNCONDITIONAL, POSITIVE = 0, 1


class ConditionEmbedding(nn.Module):
    """Embeds `is_positive` (B,) in {0, 1} into the expert's suffix.

    - `concat`: Embedding(2, 32) repeated over time, concatenated to each action embedding, fused back by a linear
      layer that starts as the identity on the action part and zero on the rest.
    - `bias`: an embedding of the expert's width added to each action embedding; starts at zero.
    - `token`: one more suffix token, which the action tokens attend to.

    `concat` and `bias` therefore reproduce a loaded base model exactly before training.
    """

    def __init__(self, mode: str, width: int):
        super().__init__()
        one_of("condition_mode", mode, CONDITION_MODES)
        self.mode = mode
        self.embedding = nn.Embedding(2, CONDITION_WIDTH if mode == "concat" else width)
        self.fuse = nn.Linear(width + CONDITION_WIDTH, width) if mode == "concat" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start values; to be called again after anything that re-initialises modules."""
        if self.mode == "bias":
            nn.init.zeros_(self.embedding.weight)
        else:
            nn.init.normal_(self.embedding.weight, std=1.0 if self.mode == "concat" else 0.02)
        if self.fuse is not None:
            width = self.fuse.out_features
            with torch.no_grad():
                self.fuse.weight.zero_()
                self.fuse.weight[:, :width] = torch.eye(width)
                self.fuse.bias.zero_()

    def forward(self, actions: Tensor, is_positive: Tensor) -> tuple[Tensor | None, Tensor]:
        """Action embeddings (B, H, width) → (context token (B, 1, width) or None, action embeddings (B, H, width))."""
        condition = self.embedding(is_positive)[:, None].to(actions.dtype)
        if self.mode == "token":
            return condition, actions
        if self.fuse is None:
            return None, actions + condition
        repeated = condition.expand(-1, actions.shape[1], -1)
        return None, self.fuse(torch.cat([actions, repeated], dim=-1))

    @torch.no_grad()
    def absorb_into(self, layer: nn.Linear) -> None:
        """Makes the positive branch part of the layer whose output it changes, in place; what stays changes nothing.

        Raises ValueError for `token`, which is no change of that output.
        """
        if self.mode == "token":
            raise ValueError("condition_mode 'token' adds a token of its own: it cannot become part of other weights")
        condition = self.embedding.weight[POSITIVE]
        if self.fuse is None:
            layer.bias.add_(condition)
        else:
            action, rest = self.fuse.weight.split([layer.out_features, CONDITION_WIDTH], dim=1)
            layer.weight.copy_(action @ layer.weight)
            layer.bias.copy_(action @ layer.bias + rest @ condition + self.fuse.bias)
        self.reset_parameters()
