"""Memory of one GPU: weights, gradients, optimizer states, activations and prefix cache."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from transformers.initialization import no_init_weights

from ript.algos.policies.trained_part import DTYPES
from ript.checks import one_of
from ript.estimate.activations import (
    FLOAT32,
    Tokens,
    Trained,
    Workload,
    key_value_bytes,
    largest_layer_bytes,
    saved_bytes,
)
from ript.estimate.sharding import Gathered, gathered_bytes, split_weights
from ript.models.pi0.checkpoint import read_architecture
from ript.models.pi0.config import Pi0Architecture, public_architecture, small_pi0_config, small_pi05_config
from ript.models.pi0.dims import STATE_DIM
from ript.models.pi0.folders import find_policy_folder
from ript.models.pi0.heads import Heads, HeadSettings
from ript.models.pi0.lora import LoraSettings, add_lora
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.policy_card import POLICY, read_policy_card
from ript.models.pi0.preprocess import CAMERAS
from ript.models.pi0.weights_file import WeightsFile

MODELS = ("pi0", "pi05", "small", "small_pi05")
MODES = ("inference", "heads only", "expert only", "LoRA", "full")
HEADS = ("value", "log_std", "latent")


@dataclass(frozen=True)
class Memory:
    """Bytes."""

    parameters: int
    """How many, adapters and heads included."""
    trainable: int
    """How many of them are trained."""
    weights: int
    weight_copies: int
    """Trained weights in the compute dtype, from forward to backward pass."""
    gradients: int
    optimizer: int
    """AdamW's two moments, float32."""
    prefix_cache: int
    """Keys and values of images and prompt."""
    activations: int
    """Kept for the backward pass, and the working set of one layer."""
    gathered: Gathered
    """What is whole for a while of sharded weights."""
    share: int
    """A rank holds 1/share of what is trained."""

    @property
    def peak(self) -> int:
        """The largest of three moments: the backward pass begins; AdamW steps, with one more copy of what is trained;
        the policy acts with sharded weights gathered."""
        passing = self.weight_copies + self.prefix_cache + self.activations + self.gathered.passing
        moments = (passing, FLOAT32 * self.trainable // self.share, self.gathered.acting)
        return self.weights + self.gradients + self.optimizer + max(moments)


@dataclass(frozen=True)
class Options:
    """What is estimated beside the mode."""

    batch_size: int = 8
    """Windows per forward pass and GPU (`algo.optimizer_batch_size`); observations at inference."""
    dtype: str = "float32"
    branches: int = 2
    prompt_tokens: int = 48
    lora: LoraSettings = field(default_factory=lambda: LoraSettings("both"))
    vision_checkpointing: bool = False
    heads: Sequence[str] = ()
    """Of `HEADS`: a critic after the expert, the noise sampler's standard deviation, the latent actor, with a critic
    that reads what it reads. Their activations are not counted: they are less than a hundredth of a full-size
    expert's."""
    scored_steps: int = 1
    cameras: int = len(CAMERAS)
    """Images of an observation; those that are masked do not count."""
    share: int = 1
    """Ranks that share out weights, gradients and optimizer states (`cluster.sharding=fsdp2`); 1: each has all."""


def find_architecture(model: str) -> Pi0Architecture:
    """One of `MODELS`, or that of a policy folder. Raises FileNotFoundError or ValueError."""
    known = {
        "pi0": lambda: public_architecture("pi0"),
        "pi05": lambda: public_architecture("pi05", chunk_size=10),
        "small": small_pi0_config,
        "small_pi05": small_pi05_config,
    }
    if model in known:
        return known[model]()
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"model={model!r} is neither a folder nor one of {', '.join(MODELS)}")
    folder = find_policy_folder(folder, "model")
    if (folder / POLICY).exists() and (base := read_policy_card(folder).base):
        folder = Path(base.path)  # an adapter has the sizes of the weights it belongs to
    return read_architecture(folder, WeightsFile.open_folder(folder).shapes)


def estimate(architecture: Pi0Architecture, mode: str, options: Options) -> Memory:
    """What one of `MODES` needs. Nothing is allocated: parameters are counted on the meta device."""
    one_of("mode", mode, MODES)
    model = build(architecture, mode, options)
    number = torch.finfo(DTYPES[options.dtype]).bits // 8
    work = Workload(
        options.batch_size, options.prompt_tokens, options.branches, number, options.scored_steps, options.cameras
    )
    heads = build_heads(model, mode, options)
    parameters = [*model.parameters(), *heads.parameters()]
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    trained = trained_parts(mode, options)
    cache = options.batch_size * key_value_bytes(architecture, trained, work, Tokens.count(architecture, work))
    saved = 0 if mode in ("inference", "heads only") else saved_bytes(architecture, trained, work) - cache
    kept, shared = split_weights(model, heads, options.share)
    working = largest_layer_bytes(architecture, work)
    return Memory(
        parameters=sum(p.numel() for p in parameters),
        trainable=trainable,
        weights=kept + shared // options.share,
        weight_copies=copied_weights(model, options.scored_steps) * number if number != FLOAT32 else 0,
        gradients=FLOAT32 * trainable // options.share,
        optimizer=2 * FLOAT32 * trainable // options.share,
        prefix_cache=cache,
        activations=saved + working,
        gathered=gathered_bytes(model, shared, cache + working) if shared else Gathered(0, 0),
        share=options.share,
    )


def build(architecture: Pi0Architecture, mode: str, options: Options) -> Pi0FlowModel:
    """The network on the meta device, as `mode` has it."""
    with torch.device("meta"), no_init_weights():
        model = Pi0FlowModel(architecture)
    prepare(model, mode, options)
    return model


def build_heads(model: Pi0FlowModel, mode: str, options: Options) -> Heads:
    """The heads on the meta device; always float32, trained in every mode but inference."""
    if {"log_std", "latent"} <= set(options.heads):
        raise ValueError("heads=log_std latent is not valid: a policy has one of them")
    sampler = "noise" if "log_std" in options.heads else "latent" if "latent" in options.heads else "ode"
    settings = HeadSettings(add_value_head="value" in options.heads, sampler=sampler)
    with torch.device("meta"):
        chunk_size = model.architecture.chunk_size
        heads = Heads(settings, model.expert_hidden_size, model.prefix_width, chunk_size, STATE_DIM)
    return heads.requires_grad_(mode != "inference")


def prepare(model: Pi0FlowModel, mode: str, options: Options) -> None:
    """Sets what is trained and how it is stored."""
    if mode == "LoRA":
        add_lora(model, options.lora)
    elif mode == "expert only":
        model.model.vlm.requires_grad_(False)
    elif mode in ("inference", "heads only"):
        model.requires_grad_(False)
    model.set_precision(DTYPES[options.dtype])


def trained_parts(mode: str, options: Options) -> Trained:
    """What gradients reach."""
    if mode == "full":
        return Trained(vision=True, text=True, vision_checkpointing=options.vision_checkpointing)
    if mode == "LoRA":
        return Trained(vision=False, text=options.lora.target != "expert", lora_rank=options.lora.r)
    return Trained(vision=False, text=False)


def copied_weights(model: Pi0FlowModel, scored_steps: int) -> int:
    """How many weights autocast copies: the trained ones of the backbone's matrix products, the expert's each step."""

    def count(part: nn.Module) -> int:
        layers = [m for m in part.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        return sum(layer.weight.numel() for layer in layers if layer.weight.requires_grad)

    return count(model.model) + (scored_steps - 1) * count(model.model.dit)
