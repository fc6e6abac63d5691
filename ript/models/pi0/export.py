"""Folders for openpi and for LeRobot: weights in their layout, and what they read beside them."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ript.models.pi0.checkpoint import Origin, file_tensors
from ript.models.pi0.config import GEMMA_VARIANTS, Pi0Architecture, public_architecture
from ript.models.pi0.dims import PADDED_DIM
from ript.models.pi0.folders import CONFIG, NETWORK, WEIGHTS
from ript.models.pi0.layouts import LEROBOT, OPENPI, TEXT_EMBEDDING, VARIANTS, Layout
from ript.models.pi0.lerobot import ACTION, MODES, POSTPROCESSOR, PREPROCESSOR, STATE
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.norm_stats import Mode, Normalizer, NormStats
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.weights_file import apply_umask, write_weights

OPENPI_STATS = Path("assets/physical-intelligence/libero/norm_stats.json")
PROMPT_TOKENS = {"pi0": 48, "pi05": 200}
IMAGES = {"base_0_rgb": "observation.images.image", "left_wrist_0_rgb": "observation.images.image2"}
"""π0's name of a camera → LeRobot's."""
POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw")


def write_openpi(
    folder: Path, model: Pi0FlowModel, origin: Origin, card: PolicyCard, stats: NormStats, content: dict[str, Any]
) -> str:
    """Writes openpi's folder. Returns the settings that openpi keeps elsewhere, as one line.

    `content` is the statistics file that `stats` are of. openpi's kinds decide the normalisation: where it is not the
    card's, the statistics are those by which openpi's is the same map.
    """
    _write_network(folder, model, origin, OPENPI)
    sizes, kind = model.architecture, model.architecture.kind
    variants = _variants(sizes)
    config = {"action_dim": PADDED_DIM, "action_horizon": sizes.chunk_size, **variants, "precision": "float32"}
    _write_json(folder / CONFIG, config)
    mode: Mode = "quantile" if kind == "pi05" else "z_score"
    groups = {
        name: _same_map(getattr(stats, name), mode, content.get("norm_stats", {}).get(name, {}))
        for name in ("state", "actions")
    }
    (folder / OPENPI_STATS).parent.mkdir(parents=True)
    _write_json(folder / OPENPI_STATS, {"norm_stats": groups})
    return (
        f"openpi's configuration of it: Pi0Config(pi05={kind == 'pi05'}, action_horizon={sizes.chunk_size}, "
        f"discrete_state_input={card.discrete_state_input}), extra_delta_transform={card.delta_actions}"
    )


def write_lerobot(
    folder: Path, model: Pi0FlowModel, origin: Origin, card: PolicyCard, stats: NormStats, content: dict[str, Any]
) -> str:
    """Writes LeRobot's folder; `content` is the statistics file that `stats` are of. Returns one line about it.

    Raises ValueError for a π0.5 without the state in its prompt.
    """
    kind = model.architecture.kind
    if kind == "pi05" and not card.discrete_state_input:
        raise ValueError(
            "LeRobot's π0.5 has the state in its prompt, and this one has not; --discrete-state-input if that is wrong"
        )
    _write_network(folder, model, origin, LEROBOT)
    _write_json(folder / CONFIG, _lerobot_config(model.architecture, card, stats))
    statistics = content.get("norm_stats", {})
    tensors = {
        f"{feature}.{key}": torch.tensor(values, dtype=torch.float32)[:width]
        for feature, group, width in ((STATE, "state", stats.state.width), (ACTION, "actions", stats.actions.width))
        for key, values in statistics.get(group, {}).items()
    }
    pipelines = ((PREPROCESSOR, _inputs(model.architecture, card, stats)), (POSTPROCESSOR, _outputs(card, stats)))
    for name, steps in pipelines:
        pipeline = name.removesuffix(".json")
        for number, step in enumerate(steps):
            if step["registry_name"] in ("normalizer_processor", "unnormalizer_processor") and tensors:
                step["state_file"] = f"{pipeline}_step_{number}_{step['registry_name']}.safetensors"
                save_file(tensors, folder / step["state_file"])
                apply_umask(folder / step["state_file"])
        _write_json(folder / name, {"name": pipeline, "steps": steps})
    return f"LeRobot's {kind}: its config.json and its processors say how it is used"


def _write_network(folder: Path, model: Pi0FlowModel, origin: Origin, layout: Layout) -> None:
    dtypes = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith("condition."):
            dtypes[layout.rename(name)] = origin.dtypes.get(origin.layout.rename(name), tensor.dtype)
    if layout is LEROBOT:  # writes the embedding under both its names
        dtypes[layout.input_embedding] = dtypes[layout.rename(TEXT_EMBEDDING)]
    write_weights(folder / WEIGHTS, file_tensors(model, Origin(layout, dtypes)), {"format": "pt"})
    if not _variants(model.architecture):  # no tool has a name for these sizes
        _write_json(folder / NETWORK, asdict(model.architecture))


def _variants(sizes: Pi0Architecture) -> dict[str, str]:
    """The public names of the sizes; empty when they have none."""
    names = [name for part in (sizes.text, sizes.expert) for name, known in GEMMA_VARIANTS.items() if known == part]
    if len(names) < 2 or sizes != public_architecture(sizes.kind, names[0], names[1], sizes.chunk_size):
        return {}
    return dict(zip(VARIANTS, names, strict=True))


def _same_map(normalizer: Normalizer, mode: Mode, found: dict[str, Any]) -> dict[str, Any]:
    kept = normalizer.mode == mode and {"mean", "std"} <= found.keys()
    return found if kept else normalizer.statistics(mode)


def _norm_map(card: PolicyCard) -> dict[str, str]:
    names = {mode: name for name, mode in MODES.items()}
    state = card.state_normalization or card.normalization
    return {"VISUAL": "IDENTITY", "STATE": names[state], "ACTION": names[card.normalization]}


def _input_features(size: int, card: PolicyCard, stats: NormStats) -> dict[str, Any]:
    inputs: dict[str, Any] = {IMAGES[name]: {"type": "VISUAL", "shape": [3, size, size]} for name in card.cameras}
    return {**inputs, STATE: {"type": "STATE", "shape": [stats.state.width]}}


def _output_features(stats: NormStats) -> dict[str, Any]:
    return {ACTION: {"type": "ACTION", "shape": [stats.actions.width]}}


def _action_names(stats: NormStats) -> list[str]:
    """What relative actions are told by: the last is the gripper's."""
    others = stats.actions.width - 1
    return [*(POSE_NAMES[:others] if others <= len(POSE_NAMES) else map(str, range(others))), "gripper"]


def _lerobot_config(sizes: Pi0Architecture, card: PolicyCard, stats: NormStats) -> dict[str, Any]:
    """Relative actions are named only where they are used: earlier versions of LeRobot do not know the keys."""
    relative = {
        "use_relative_actions": True,
        "relative_exclude_joints": ["gripper"],
        "action_feature_names": _action_names(stats),
    }
    return {
        "type": sizes.kind,
        "input_features": _input_features(sizes.vision.image_size, card, stats),
        "output_features": _output_features(stats),
        **_variants(sizes),
        "dtype": "float32",
        "chunk_size": sizes.chunk_size,
        "n_action_steps": card.open_loop or sizes.chunk_size,
        "max_state_dim": PADDED_DIM,
        "max_action_dim": PADDED_DIM,
        "image_resolution": [sizes.vision.image_size] * 2,
        "normalization_mapping": _norm_map(card),
        **(relative if card.delta_actions else {}),
    }


def _inputs(sizes: Pi0Architecture, card: PolicyCard, stats: NormStats) -> list[dict[str, Any]]:
    """LeRobot's steps from an observation to the network. π0.5 digitises the normalised state, so that comes first."""
    features = {**_input_features(sizes.vision.image_size, card, stats), **_output_features(stats)}
    relative = {"enabled": True, "exclude_joints": ["gripper"], "action_names": _action_names(stats)}
    normalizer = _step("normalizer_processor", eps=1e-8, features=features, norm_map=_norm_map(card))
    prompt = "pi05_prepare_state_tokenizer_processor_step" if sizes.kind == "pi05" else "pi0_new_line_processor"
    tokenizer = _step(
        "tokenizer_processor",
        max_length=PROMPT_TOKENS[sizes.kind],
        task_key="task",
        padding_side="right",
        padding="max_length",
        truncation=True,
        tokenizer_name="google/paligemma-3b-pt-224",
    )
    return [
        _step("rename_observations_processor", rename_map={}),
        _step("to_batch_processor"),
        *([_step("relative_actions_processor", **relative)] if card.delta_actions else []),
        normalizer,
        _step(prompt),
        tokenizer,
        _step("device_processor", device="cpu", float_dtype=None),
    ]


def _outputs(card: PolicyCard, stats: NormStats) -> list[dict[str, Any]]:
    """LeRobot's steps from the network's actions to the robot's."""
    return [
        _step("unnormalizer_processor", eps=1e-8, features=_output_features(stats), norm_map=_norm_map(card)),
        *([_step("absolute_actions_processor", enabled=True)] if card.delta_actions else []),
        _step("device_processor", device="cpu", float_dtype=None),
    ]


def _step(registry_name: str, **config: Any) -> dict[str, Any]:
    return {"registry_name": registry_name, "config": config}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
