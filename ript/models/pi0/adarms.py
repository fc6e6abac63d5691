"""π0.5's action expert: Gemma whose every norm is modulated by the denoising time (adaRMS)."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.models.gemma.configuration_gemma import GemmaConfig
from transformers.models.gemma.modeling_gemma import GemmaDecoderLayer, GemmaModel


class AdaRMSNorm(nn.Module):
    """RMS norm with `scale, shift, gate = dense(c)`: y = norm(x)·(1 + scale) + shift; the gate is for the residual.

    Computed in float32. It starts at zero, where every block is the identity (as in DiT, arXiv 2212.09748).
    """

    def __init__(self, width: int, eps: float):
        super().__init__()
        self.eps = eps
        self.dense = nn.Linear(width, 3 * width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zero modulation and zero gate."""
        nn.init.zeros_(self.dense.weight)
        nn.init.zeros_(self.dense.bias)

    def forward(self, hidden: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden (B, S, width), modulation (B, width) → normalised (B, S, width), gate (B, 1, width)."""
        scale, shift, gate = self.dense(modulation)[:, None].float().chunk(3, dim=-1)
        x = hidden.float()
        normalized = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        return (normalized * (1 + scale) + shift).to(hidden.dtype), gate.to(hidden.dtype)


class AdaDecoderLayer(GemmaDecoderLayer):
    """Gemma's decoder layer with adaRMS norms and gated residuals."""

    def __init__(self, config: GemmaConfig, layer_idx: int):
        super().__init__(config, layer_idx)
        self.input_layernorm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden: Tensor, modulation: Tensor, **attention: Any) -> Tensor:
        """`attention` goes to Gemma's self-attention as it is."""
        normalized, gate = self.input_layernorm(hidden, modulation)
        hidden = hidden + self.self_attn(hidden_states=normalized, **attention)[0] * gate
        normalized, gate = self.post_attention_layernorm(hidden, modulation)
        return hidden + self.mlp(normalized) * gate


class AdaGemma(GemmaModel):
    """Gemma with adaRMS, called with embeddings and a ready attention mask."""

    def __init__(self, config: GemmaConfig):
        super().__init__(config)
        self.layers = nn.ModuleList([AdaDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = AdaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()
        for norm in self.modules():
            if isinstance(norm, AdaRMSNorm):
                norm.reset_parameters()  # post_init drew them at random

    def forward(
        self,
        inputs_embeds: Tensor,
        modulation: Tensor,
        attention_mask: Any,
        position_ids: Tensor,
        past_key_values: Any,
    ) -> BaseModelOutputWithPast:
        """Embeddings (B, S, width), modulation (B, width); the rest as in GemmaModel. The cache is appended to."""
        hidden = inputs_embeds
        rotary = self.rotary_emb(hidden, position_ids=position_ids)
        for layer in self.layers:
            hidden = layer(
                hidden,
                modulation,
                attention_mask=attention_mask,
                position_embeddings=rotary,
                past_key_values=past_key_values,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden, modulation)[0])
