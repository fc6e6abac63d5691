"""Checkpoint folders as openpi and LeRobot write them, made from the parity data in `tests/goldens`.

The names of the other layouts are written down here on their own, independent of `ript.models.pi0.layouts`.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.models.pi0.config import GemmaSizes, Kind, Pi0Architecture, VisionSizes
from ript.models.pi0.modeling import Pi0FlowModel, Prefix

GOLDENS = Path(__file__).parent / "goldens"
KINDS: tuple[Kind, Kind] = ("pi0", "pi05")
LAYOUTS = ("openpi", "lerobot", "legacy")
STATS = Path("assets/physical-intelligence/libero/norm_stats.json")
OPENPI_CONFIG = {
    "action_dim": 32,
    "action_horizon": 10,
    "paligemma_variant": "dummy",
    "action_expert_variant": "dummy",
    "precision": "float32",
}
LM_HEAD = "model.paligemma_with_expert.paligemma.lm_head.weight"
EMBED_TOKENS = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"


def golden_architecture(kind: Kind) -> Pi0Architecture:
    text = GemmaSizes(64, 3, 128, heads=8, kv_heads=1, head_dim=16)
    expert = GemmaSizes(32, 3, 64, heads=8, kv_heads=1, head_dim=16)
    return Pi0Architecture(kind, text, expert, VisionSizes(32, 2, 64, 2, patch_size=14, image_size=28), 512, 10)


def golden_weights(kind: Kind, layout: str = "openpi", dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    weights = {name: x.to(dtype) for name, x in load_file(GOLDENS / kind / "model.safetensors").items()}
    if layout == "openpi":
        return weights
    weights = {f"model.{name}": x for name, x in weights.items()}
    if layout == "lerobot":
        return weights | {EMBED_TOKENS: weights[LM_HEAD].clone()}
    paligemma = "model.paligemma_with_expert.paligemma."
    for new, old in (
        ("model.language_model.", "language_model.model."),
        ("model.vision_tower.", "vision_tower."),
        ("model.multi_modal_projector.", "multi_modal_projector."),
        ("lm_head.", "language_model.lm_head."),
    ):
        weights = {name.replace(paligemma + new, paligemma + old): x for name, x in weights.items()}
    return weights


def golden_io(kind: Kind) -> dict[str, Tensor]:
    return load_file(GOLDENS / kind / "io.safetensors")


def golden_prefix(model: Pi0FlowModel, io: dict[str, Tensor]) -> Prefix:
    images = torch.stack([io["base_0_rgb"], io["left_wrist_0_rgb"]], dim=1)
    return model.prefix(images, io["tokens"], io["token_mask"])


def write_foreign_folder(
    folder: Path, kind: Kind, layout: str = "openpi", dtype: torch.dtype = torch.float32, **changes: Tensor
) -> Path:
    """A folder without any file of ours but `network.json`: no variant name says these sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(golden_weights(kind, layout, dtype) | changes, folder / "model.safetensors", {"format": "pt"})
    lerobot = {"type": kind, "chunk_size": 10, "max_action_dim": 32, "max_state_dim": 32}
    config: dict[str, Any] = OPENPI_CONFIG if layout == "openpi" else lerobot
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "network.json").write_text(json.dumps(asdict(golden_architecture(kind))))
    (folder / "tokenizer.json").write_bytes((DEFAULT_FOLDER / "tokenizer.json").read_bytes())
    stats = folder / (STATS if layout == "openpi" else "norm_stats.json")
    stats.parent.mkdir(parents=True, exist_ok=True)
    stats.write_bytes((DEFAULT_FOLDER / "norm_stats.json").read_bytes())
    return folder
