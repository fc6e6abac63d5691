"""π0 with an explicit prefix, a conditioned suffix and one velocity function, on transformers' own π0."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PI0Config, PI0ForConditionalGeneration
from transformers.masking_utils import create_causal_mask

from ript.models.pi0.conditioning import ConditionEmbedding


@dataclass(frozen=True)
class Prefix:
    """What the expert attends to: the keys and values of images and language. Never changed in place.

    It is computed once per chunk and shared by all denoising steps and by both guidance branches; gradients flow
    through it.
    """

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    """Per layer: keys and values, each (B, kv_heads, P, head_dim)."""
    mask: Tensor
    """(B, P), 1 where the token is real."""

    def repeat(self, times: int) -> "Prefix":
        """The whole batch `times` times over: rows 0..B-1, then 0..B-1 again, …"""
        return Prefix(
            tuple((k.repeat(times, 1, 1, 1), v.repeat(times, 1, 1, 1)) for k, v in self.keys_values),
            self.mask.repeat(times, 1),
        )


class Pi0FlowModel(PI0ForConditionalGeneration):
    """π0 that predicts v(x_t, t, is_positive): t = 1 is noise, t = 0 is data.

    Two calls do everything: `prefix` once per observation, `velocity` once per (x_t, t, condition).
    """

    def __init__(self, config: PI0Config, condition_mode: str = "concat"):
        super().__init__(config)
        self.vlm_config: Any = config.vlm_config
        self.condition = ConditionEmbedding(condition_mode, self.expert_hidden_size)
        self._freeze_unreachable()

    def prefix(self, images: Tensor, tokens: Tensor, token_mask: Tensor) -> Prefix:
        """Images (B, cameras, 3, S, S) in [-1, 1], tokens (B, L), token_mask (B, L) → Prefix."""
        batch, cameras = images.shape[:2]
        vision = self.vlm_config.vision_config
        image_tokens = cameras * (vision.image_size // vision.patch_size) ** 2
        placeholder = tokens.new_full((batch, image_tokens), self.vlm_config.image_token_id)
        mask = torch.cat([token_mask.new_ones(batch, image_tokens), token_mask], dim=1).long()
        present = torch.ones(batch, cameras, dtype=torch.bool, device=images.device)
        embeds = self.model.embed_prefix(torch.cat([placeholder, tokens], dim=1), images, present)
        cache = self.model.vlm(
            inputs_embeds=embeds,
            attention_mask=mask,
            position_ids=mask.cumsum(-1) - 1,
            token_type_ids=torch.zeros_like(mask),
            use_cache=True,
        ).past_key_values
        return Prefix(tuple((layer.keys, layer.values) for layer in cache.layers), mask)

    def embed_suffix(self, state: Tensor, x_t: Tensor, time: Tensor, is_positive: Tensor) -> tuple[Tensor, Tensor]:
        """State (B, 32), x_t (B, H, 32), time (B,), is_positive (B,) → context (B, C, width), actions (B, H, width)."""
        embed = self.embed_action_time
        action = embed.action_in_proj(x_t)
        time_embed = embed.sinusoid_embeds(time)[:, None].expand_as(action).to(action.dtype)
        hidden = F.silu(embed.action_time_mlp_in(torch.cat([action, time_embed], dim=-1)))
        token, action = self.condition(embed.action_time_mlp_out(hidden), is_positive)
        context = [embed.state_proj(state)[:, None]] if token is None else [token, embed.state_proj(state)[:, None]]
        return torch.cat(context, dim=1), action

    def velocity(self, prefix: Prefix, state: Tensor, x_t: Tensor, time: Tensor, is_positive: Tensor) -> Tensor:
        """Predicted velocity (B, H, 32); see `embed_suffix` for the shapes."""
        context, action = self.embed_suffix(state, x_t, time, is_positive)
        suffix = torch.cat([context, action], dim=1)
        cache = DynamicCache(ddp_cache_data=prefix.keys_values)  # a fresh one: the expert appends to it
        mask = torch.cat([prefix.mask, prefix.mask.new_ones(suffix.shape[:2])], dim=1)
        hidden = self.model.dit(
            inputs_embeds=suffix,
            attention_mask=self._block_mask(suffix, mask, cache, context.shape[1]),
            position_ids=(mask.cumsum(1) - 1)[:, -suffix.shape[1] :],
            past_key_values=cache,
        ).last_hidden_state
        return self.action_out_proj(hidden[:, context.shape[1] :].to(self.action_out_proj.weight.dtype))

    def branch_velocities(
        self, repeated: Prefix, state: Tensor, x_t: Tensor, time: Tensor, conditions: tuple[int, ...]
    ) -> Tensor:
        """Velocities (len(conditions), B, H, 32) of the same x_t under each condition, as one batch.

        `repeated` is the prefix repeated once per condition: the caller does it once, however many steps follow.
        """
        batch, branches = x_t.shape[0], len(conditions)
        is_positive = torch.tensor(conditions, device=x_t.device).repeat_interleave(batch)
        stacked = (state.repeat(branches, 1), x_t.repeat(branches, 1, 1), time.repeat(branches))
        return self.velocity(repeated, *stacked, is_positive).unflatten(0, (branches, batch))

    def _block_mask(self, suffix: Tensor, mask: Tensor, cache: DynamicCache, context: int) -> Any:
        """Two bidirectional blocks: prefix and context tokens, then the actions, which also see the first block."""
        block = torch.ones(mask.shape[1], dtype=torch.long, device=mask.device)
        block[: mask.shape[1] - suffix.shape[1] + context] = 0
        return create_causal_mask(
            config=self.model.dit.config,
            inputs_embeds=suffix,
            attention_mask=mask,
            past_key_values=cache,
            block_sequence_ids=block[None].repeat(mask.shape[0], 1),
        )

    def _freeze_unreachable(self) -> None:
        """Parameters that no velocity depends on: the prefix's last layer gives only keys and values."""
        last = self.model.vlm.language_model.layers[-1]
        unreachable = [
            self.model.dit.embed_tokens,
            self.model.vlm.language_model.norm,
            last.self_attn.q_proj,
            last.self_attn.o_proj,
            last.mlp,
            last.post_attention_layernorm,
        ]
        for module in unreachable:
            module.requires_grad_(False)
