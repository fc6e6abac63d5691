"""What the action expert reads: state, noisy actions and time, embedded as π0 and as π0.5 do it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PI0Config
from transformers.models.pi0.modeling_pi0 import PI0ActionTimeEmbedding, PI0TimestepEmbeddings


class Suffix(NamedTuple):
    """The expert's input. Actions attend to everything, context tokens to the prefix and each other."""

    context: Tensor
    """(B, C, width), C may be 0."""
    actions: Tensor
    """(B, H, width)."""
    modulation: Tensor | None = None
    """(B, width) for adaRMS; None where the time is part of the action embeddings."""


class Pi0SuffixEmbedding(nn.Module):
    """π0: a state token, then an MLP of each action and the time. The layers are those of transformers' module."""

    def __init__(self, stock: PI0ActionTimeEmbedding):
        super().__init__()
        self.sinusoid_embeds = stock.sinusoid_embeds
        self.action_in_proj = stock.action_in_proj
        self.state_proj = stock.state_proj
        self.action_time_mlp_in = stock.action_time_mlp_in
        self.action_time_mlp_out = stock.action_time_mlp_out

    def forward(self, state: Tensor, x_t: Tensor, time: Tensor) -> Suffix:
        """State (B, 32), x_t (B, H, 32), time (B,) → Suffix."""
        action = self.action_in_proj(x_t)
        time_embed = self.sinusoid_embeds(time)[:, None].expand_as(action).to(action.dtype)
        hidden = F.silu(self.action_time_mlp_in(torch.cat([action, time_embed], dim=-1)))
        return Suffix(self.state_proj(state)[:, None], self.action_time_mlp_out(hidden))


class Pi05SuffixEmbedding(nn.Module):
    """π0.5: the actions alone; the time modulates the expert's norms and the state is not used."""

    def __init__(self, config: PI0Config):
        super().__init__()
        width = config.dit_config.hidden_size
        self.sinusoid_embeds = PI0TimestepEmbeddings(config)
        self.action_in_proj = nn.Linear(config.max_action_dim, width)
        self.time_mlp_in = nn.Linear(width, width)
        self.time_mlp_out = nn.Linear(width, width)

    def forward(self, state: Tensor, x_t: Tensor, time: Tensor) -> Suffix:
        """x_t (B, H, 32), time (B,) → Suffix without context."""
        action = self.action_in_proj(x_t)
        time_embed = self.sinusoid_embeds(time).to(action.dtype)
        modulation = F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(time_embed))))
        return Suffix(action[:, :0], action, modulation)
