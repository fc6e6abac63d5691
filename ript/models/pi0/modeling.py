"""π0 and π0.5 with an explicit prefix, a conditioned suffix and one velocity function, on transformers' own π0."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PI0ForConditionalGeneration
from transformers.models.gemma.modeling_gemma import GemmaDecoderLayer, apply_rotary_pos_emb

from ript.flow.samplers import Flow
from ript.models.pi0.adarms import AdaGemma
from ript.models.pi0.conditioning import ConditionEmbedding
from ript.models.pi0.config import Pi0Architecture
from ript.models.pi0.suffix import Pi0SuffixEmbedding, Pi05SuffixEmbedding, Suffix

HEADER_MODULES = ("embed_action_time.", "action_out_proj.", "condition.")
"""Names of the small projections, the time MLP and the condition embedding begin with one of these."""


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
    pooled: Tensor
    """(B, width) float32, without gradient: the mean over the real tokens of what the last layer reads, after the final
    norm. The last layer's own output is not computed, since nothing of the flow needs it."""

    def repeat(self, times: int) -> "Prefix":
        """The whole batch `times` times over: rows 0..B-1, then 0..B-1 again, …"""
        return Prefix(
            tuple((k.repeat(times, 1, 1, 1), v.repeat(times, 1, 1, 1)) for k, v in self.keys_values),
            self.mask.repeat(times, 1),
            self.pooled.repeat(times, 1),
        )

    def take(self, rows: Tensor) -> "Prefix":
        """The rows with these numbers (N,), in this order; a row may come twice."""
        return Prefix(tuple((k[rows], v[rows]) for k, v in self.keys_values), self.mask[rows], self.pooled[rows])

    def rows(self) -> list["Prefix"]:
        """One prefix (batch 1) per row, without the padding at its end."""
        lengths = self.mask.sum(dim=1).tolist()
        return [
            Prefix(
                tuple((k[i : i + 1, :, :n], v[i : i + 1, :, :n]) for k, v in self.keys_values),
                self.mask[i : i + 1, :n],
                self.pooled[i : i + 1],
            )
            for i, n in enumerate(lengths)
        ]

    @staticmethod
    def stack(rows: Sequence["Prefix"]) -> "Prefix":
        """The rows as one batch again, padded at the end to the longest."""
        longest = max(row.mask.shape[1] for row in rows)
        layers = []
        for pairs in zip(*(row.keys_values for row in rows), strict=True):
            keys, values = zip(*pairs, strict=True)
            layers.append((_stack_padded(keys, longest), _stack_padded(values, longest)))
        mask = torch.cat([F.pad(row.mask, (0, longest - row.mask.shape[1])) for row in rows])
        return Prefix(tuple(layers), mask, torch.cat([row.pooled for row in rows]))

    def clone(self) -> "Prefix":
        """A copy that shares no memory with the batch it was a row of."""
        copies = tuple((k.clone(), v.clone()) for k, v in self.keys_values)
        return Prefix(copies, self.mask.clone(), self.pooled.clone())

    @property
    def num_bytes(self) -> int:
        """Memory of keys and values."""
        return sum(tensor.nbytes for layer in self.keys_values for tensor in layer)


class Pi0FlowModel(PI0ForConditionalGeneration):
    """π0 or π0.5 that predicts v(x_t, t, is_positive): t = 1 is noise, t = 0 is data.

    Two calls do everything: `prefix` once per observation, `velocity` once per (x_t, t, condition). The kinds differ
    in two parts, the suffix embedding and the expert.
    """

    architecture: Pi0Architecture
    compute_dtype: torch.dtype
    """What the backbone computes in. The small projections, the condition and the flow itself are always float32."""

    def __init__(self, architecture: Pi0Architecture, condition_mode: str = "concat"):
        config = architecture.to_transformers()
        super().__init__(config)
        self.architecture = architecture
        self.compute_dtype = torch.float32
        self.embed_action_time: nn.Module
        if architecture.kind == "pi05":
            self.model.dit = AdaGemma(config.dit_config)
            self.embed_action_time = Pi05SuffixEmbedding(config)
            self.post_init()  # start values of the new modules
        else:
            self.embed_action_time = Pi0SuffixEmbedding(self.embed_action_time)
        self.condition = ConditionEmbedding(condition_mode, self.expert_hidden_size)
        last = self.model.vlm.language_model.layers[-1]
        last.forward = MethodType(_keys_and_values_only, last)
        self.train_everything()

    @property
    def prefix_width(self) -> int:
        """Width of the prefix's tokens."""
        return self.model.vlm.language_model.norm.weight.shape[0]

    def prefix(self, images: Tensor, tokens: Tensor, token_mask: Tensor) -> Prefix:
        """Images (B, cameras, 3, S, S) in [-1, 1], tokens (B, L), token_mask (B, L) → Prefix."""
        batch, cameras = images.shape[:2]
        vision = self.architecture.vision
        image_tokens = cameras * (vision.image_size // vision.patch_size) ** 2
        placeholder = tokens.new_full((batch, image_tokens), self.architecture.image_token_id)
        mask = torch.cat([token_mask.new_ones(batch, image_tokens), token_mask], dim=1).long()
        present = torch.ones(batch, cameras, dtype=torch.bool, device=images.device)
        with self._backbone_precision():
            embeds = self.model.embed_prefix(torch.cat([placeholder, tokens], dim=1), images, present)
            read = self.model.vlm(
                inputs_embeds=embeds,
                attention_mask=mask,
                position_ids=mask.cumsum(-1) - 1,
                token_type_ids=torch.zeros_like(mask),
                use_cache=True,
            )
        pooled = masked_mean(read.last_hidden_state.detach().float(), mask)
        return Prefix(tuple((layer.keys, layer.values) for layer in read.past_key_values.layers), mask, pooled)

    def embed_suffix(self, state: Tensor, x_t: Tensor, time: Tensor, is_positive: Tensor) -> Suffix:
        """State (B, 32), x_t (B, H, 32), time (B,), is_positive (B,) → the conditioned suffix."""
        suffix = self.embed_action_time(state, x_t, time)
        token, actions = self.condition(suffix.actions, is_positive)
        context = suffix.context if token is None else torch.cat([token, suffix.context], dim=1)
        return suffix._replace(context=context, actions=actions)

    def velocity(self, prefix: Prefix, state: Tensor, x_t: Tensor, time: Tensor, is_positive: Tensor) -> Tensor:
        """Predicted velocity (B, H, 32); see `embed_suffix` for the shapes."""
        return self.flow(prefix, state, x_t, time, is_positive).velocity

    def flow(self, prefix: Prefix, state: Tensor, x_t: Tensor, time: Tensor, is_positive: Tensor) -> Flow:
        """The velocity (B, H, 32), and the expert's output at the action tokens (B, H, width) that it is read from."""
        context, actions, modulation = self.embed_suffix(state, x_t, time, is_positive)
        tokens = torch.cat([context, actions], dim=1)
        cache = DynamicCache(ddp_cache_data=prefix.keys_values)  # a fresh one: the expert appends to it
        mask = torch.cat([prefix.mask, prefix.mask.new_ones(tokens.shape[:2])], dim=1)
        with self._backbone_precision():
            hidden = self.model.dit(
                inputs_embeds=tokens,
                attention_mask=block_mask(mask, context.shape[1], actions.shape[1]),
                position_ids=(mask.cumsum(1) - 1)[:, -tokens.shape[1] :],
                past_key_values=cache,
                **({} if modulation is None else {"modulation": modulation}),
            ).last_hidden_state
        hidden = hidden[:, context.shape[1] :].float()
        return Flow(self.action_out_proj(hidden), hidden)

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

    def _backbone_precision(self) -> torch.autocast:
        enabled = self.compute_dtype != torch.float32
        return torch.autocast(self.device.type, self.compute_dtype if enabled else None, enabled=enabled)

    def absorb_condition(self) -> None:
        """Makes the positive branch part of the weights, in place. Raises ValueError for condition mode `token`."""
        last_of_actions = "action_in_proj" if self.architecture.kind == "pi05" else "action_time_mlp_out"
        layer = self.embed_action_time.get_submodule(last_of_actions)
        assert isinstance(layer, nn.Linear)
        self.condition.absorb_into(layer)

    def unreachable_modules(self) -> list[nn.Module]:
        """Modules that no velocity depends on: of the prefix's last layer only keys and values are used."""
        last = self.model.vlm.language_model.layers[-1]
        return [
            self.model.dit.embed_tokens,
            self.model.vlm.language_model.norm,
            last.self_attn.q_proj,
            last.self_attn.o_proj,
            last.mlp,
            last.post_attention_layernorm,
        ]

    def sharding_units(self) -> list[nn.Module]:
        """Modules to gather one at a time where weights are sharded.

        Each is called as a module and gives something that the loss depends on, so a backward pass finds it; or it is
        never called. The prefix's last layer is neither: its output is not used, only what it leaves in the cache.
        """
        vlm = self.model.vlm
        layers = [*vlm.vision_tower.encoder.layers, *vlm.language_model.layers[:-1], *self.model.dit.layers]
        return [vlm.language_model.embed_tokens, *layers, *self.unreachable_modules()]

    def kept_whole(self) -> list[nn.Parameter]:
        """Parameters that every rank keeps where weights are sharded: of a frozen prefix, which ranks call unequally
        often, or of a frozen network."""
        frozen = [part for part in (self.model.vlm, self) if not any(p.requires_grad for p in part.parameters())]
        return list(frozen[-1].parameters()) if frozen else []

    def train_everything(self) -> None:
        """Gradients for every parameter that a velocity depends on."""
        self.requires_grad_(True)
        for module in self.unreachable_modules():
            module.requires_grad_(False)

    def set_precision(self, dtype: torch.dtype) -> None:
        """Computes the backbone in `dtype`. Its frozen parameters are stored so; all others are float32."""
        self.compute_dtype = dtype
        for name, parameter in self.named_parameters():
            is_frozen_backbone = name.startswith("model.") and not parameter.requires_grad
            parameter.data = parameter.data.to(dtype if is_frozen_backbone else torch.float32)

    def compile_velocity(self) -> None:
        """Compiles `flow`, and so `velocity`: the same numbers but for the order of float sums."""
        self.flow = torch.compile(self.flow)  # type: ignore[method-assign]

    def checkpoint_vision(self) -> None:
        """In training mode, recompute each layer of the vision tower in the backward pass; the result is the same.

        The other transformers cannot: they fill a cache of keys and values as they go.
        """
        self.model.vlm.vision_tower.activation_checkpointing_enable({"use_reentrant": False})


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean (B, width) of the tokens (B, T, width) where `mask` (B, T) is 1."""
    weights = mask.to(tokens.dtype)[..., None]
    return (tokens * weights).sum(dim=1) / weights.sum(dim=1)


def _stack_padded(tensors: Sequence[Tensor], length: int) -> Tensor:
    """Tensors (1, heads, P_i, D) → (B, heads, length, D), zero at the end."""
    return torch.cat([F.pad(tensor, (0, 0, 0, length - tensor.shape[2])) for tensor in tensors])


def _keys_and_values_only(
    layer: GemmaDecoderLayer,
    hidden_states: Tensor,
    past_key_values: DynamicCache,
    position_embeddings: tuple[Tensor, Tensor],
    **unused: Any,
) -> Tensor:
    """The prefix's last layer: the expert reads its keys and values, nothing reads its output."""
    normed = layer.input_layernorm(hidden_states)
    shape = (*normed.shape[:-1], -1, layer.self_attn.head_dim)
    key, value = (
        project(normed).view(shape).transpose(1, 2) for project in (layer.self_attn.k_proj, layer.self_attn.v_proj)
    )
    key, _ = apply_rotary_pos_emb(key, key, *position_embeddings)
    past_key_values.update(key, value, layer.self_attn.layer_idx)
    return hidden_states


def block_mask(mask: Tensor, context: int, horizon: int) -> Tensor:
    """Two bidirectional blocks: prefix and context tokens, then the actions, which also see the first block.

    `mask` (B, K) is 1 for real tokens among prefix, `context` and `horizon`. Returns what is added to the attention
    scores (B, 1, context + horizon, K): 0 where a token may look, the lowest number elsewhere.
    """
    queries, keys = context + horizon, mask.shape[1]
    hidden = torch.zeros(queries, keys, dtype=torch.bool, device=mask.device)
    hidden[:context, keys - horizon :] = True
    lowest = torch.finfo(torch.float32).min
    return torch.zeros(len(mask), 1, queries, keys, device=mask.device).masked_fill(
        hidden | ~mask.bool()[:, None, None], lowest
    )
