"""Policy folders: those of openpi and LeRobot, and our own, which are one of these plus files of ours.

model.safetensors       weights, in the layout they were loaded in (see `ript.models.pi0.layouts`)
config.json             the original's, kept as it was found; our own networks have none
network.json            ours: sizes of the network
condition.safetensors   ours: the condition embedding
policy.json             ours: how the weights must be used, and the checksums of the weights
norm_stats.json         openpi's format; an original may have it below assets/
tokenizer.json          a `tokenizers` file

A policy with LoRA holds adapter_model.safetensors and adapter_config.json (peft's) instead of model.safetensors, and
policy.json names the folder they belong to.

A tensor is written in the dtype it was read in where that keeps its value, else in float32: an untouched tensor is
byte for byte the original's, a trained one loses nothing. Checksums exist in our own folders only: safetensors has
none, so in a foreign file a damaged header is noticed and a damaged number is not.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.initialization import no_init_weights

from ript.json_files import read_json, write_json
from ript.models.pi0.config import GemmaSizes, Pi0Architecture, VisionSizes
from ript.models.pi0.folders import ADAPTER_WEIGHTS, CONDITION, CONFIG, NETWORK, POLICY, WEIGHTS
from ript.models.pi0.layouts import (
    OPENPI,
    TEXT_EMBEDDING,
    Layout,
    architecture_from_shapes,
    detect_kind,
    detect_layout,
    read_foreign_config,
)
from ript.models.pi0.lerobot import buffer_names, processor_files
from ript.models.pi0.lora import LoraSettings, add_lora, open_lora, save_lora
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.policy_card import BaseWeights, PolicyCard
from ript.models.pi0.usage import find_policy_card
from ript.models.pi0.weights_file import WeightsFile, named_tensors, sha256, write_weights

__all__ = [
    "Origin",
    "check_weights",
    "file_tensors",
    "find_policy_card",
    "load_model",
    "read_architecture",
    "save_model",
    "start_lora",
]


@dataclass(frozen=True)
class Origin:
    """How a model's weights were found, so that they are written the same way. The default is for a new network."""

    layout: Layout = OPENPI
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    """Name in the file → dtype."""
    metadata: Mapping[str, str] = field(default_factory=lambda: {"format": "pt"})
    unused: Mapping[str, Tensor] = field(default_factory=dict)
    """Tensors that no action depends on: an output layer of the language model that differs from its embedding, and
    statistics among the weights."""
    config: Mapping[str, Any] | None = None
    """The original's config.json."""
    processors: Mapping[str, bytes] = field(default_factory=dict)
    """LeRobot's processors: name of the file → its bytes."""
    base: BaseWeights | None = None
    """The folder of the weights, when an adapter is trained on them."""


def load_model(folder: Path, card: PolicyCard, base: Path | None = None) -> tuple[Pi0FlowModel, Origin]:
    """Builds the network and loads its weights, strictly; only a foreign folder lacks the condition embedding.

    An adapter's weights are in the folder `base`, else where its card says.
    Raises FileNotFoundError or ValueError with every missing, unexpected or misshapen tensor.
    """
    if card.lora is None or card.base is None:
        return _load_full(folder, card)
    base = _find_base(folder, card.base, base)
    file = WeightsFile.open_folder(base)
    if file.sha256 != card.base.sha256:
        raise ValueError(_another_base(folder, file))
    model, origin = _load_full(base, find_policy_card(base, card.condition_mode))
    add_lora(model, card.lora)
    file, targets = open_lora(folder, model)
    _load_checked(file, targets, card)
    _load_checked(WeightsFile.open(folder / CONDITION), model.condition.state_dict(), card)
    return model, replace(origin, base=BaseWeights(str(base.resolve()), card.base.sha256))


def check_weights(folder: Path, card: PolicyCard, base: Path | None = None) -> Layout:
    """What `load_model` refuses, told without memory for the weights; the layout of the weights.

    Reads the files only where a checksum is recorded. Raises as `load_model` does.
    """
    weights = folder if card.base is None else _find_base(folder, card.base, base)
    with torch.device("meta"):
        file, _ = _open(weights)
        model, targets, layout = _build(weights, file, card)
    file.check(targets)
    if card.base is not None and card.lora is not None:
        if file.sha256 != card.base.sha256:
            raise ValueError(_another_base(folder, file))
        add_lora(model, card.lora)
        file, targets = open_lora(folder, model)
        file.check(targets)
    if (folder / POLICY).exists():
        WeightsFile.open(folder / CONDITION).check(model.condition.state_dict())
    for name, recorded in card.sha256.items():
        _check_sum(folder / name, recorded)
    return layout


def _another_base(folder: Path, file: WeightsFile) -> str:
    return f"{file.path} is not the file that the adapter in {folder} belongs to: its SHA-256 is another"


def _find_base(folder: Path, recorded: BaseWeights, given: Path | None) -> Path:
    """The folder of an adapter's weights: `given`, unless that holds the adapter of an earlier run.

    Raises FileNotFoundError with what to set.
    """
    is_adapter = given is not None and (given / ADAPTER_WEIGHTS).exists()
    base = Path(recorded.path) if given is None or is_adapter else given
    if not base.is_dir():
        raise FileNotFoundError(
            f"{folder / POLICY}: the folder the adapter belongs to is missing: {base}; set base_path (when a run is "
            "resumed: algo.pretrained_path) to where it is now"
        )
    return base


def save_model(folder: Path, model: Pi0FlowModel, card: PolicyCard, origin: Origin | None = None) -> None:
    """Writes weights, sizes and policy card into an existing folder. Raises ValueError for an adapter without base."""
    origin = origin or Origin()
    checksums = {CONDITION: write_weights(folder / CONDITION, named_tensors(model.condition), {"format": "pt"})}
    if card.lora is not None:
        if origin.base is None:
            raise ValueError("an adapter belongs to a folder of weights: lora needs pretrained_path")
        checksums[ADAPTER_WEIGHTS] = save_lora(folder, model, card.lora)
    else:
        checksums[WEIGHTS] = write_weights(folder / WEIGHTS, file_tensors(model, origin), origin.metadata)
        write_json(folder / NETWORK, asdict(model.architecture))
        if origin.config is not None:
            write_json(folder / CONFIG, origin.config)
        for name, content in origin.processors.items():
            (folder / name).write_bytes(content)
    base = origin.base if card.lora else None
    replace(card, base=base, sha256=checksums).save(folder)


def start_lora(folder: Path, model: Pi0FlowModel, settings: LoraSettings, origin: Origin) -> Origin:
    """Adds new adapters to the model loaded from `folder`, which becomes their base."""
    add_lora(model, settings)
    return replace(origin, base=BaseWeights(str(folder.resolve()), WeightsFile.open_folder(folder).sha256))


def read_architecture(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> Pi0Architecture:
    """The sizes in `network.json`, those that the original's `config.json` names, or those the shapes have.

    Raises FileNotFoundError or ValueError naming file and key.
    """
    path = folder / NETWORK if (folder / NETWORK).exists() else folder / CONFIG
    if not path.exists():
        try:
            return architecture_from_shapes(shapes)
        except ValueError as error:
            raise FileNotFoundError(
                f"sizes of the network not found: neither {folder / CONFIG} nor {folder / NETWORK}, and {error}"
            ) from error
    content = read_json(path)
    try:
        if path.name == CONFIG:
            return read_foreign_config(content, detect_kind(shapes))
        text, expert = (GemmaSizes(**content.pop(key)) for key in ("text", "expert"))
        return Pi0Architecture(text=text, expert=expert, vision=VisionSizes(**content.pop("vision")), **content)
    except KeyError as error:
        raise ValueError(f"{path}: key {error} is missing") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _load_full(folder: Path, card: PolicyCard) -> tuple[Pi0FlowModel, Origin]:
    file, statistics = _open(folder)
    model, targets, layout = _build(folder, file, card)
    model.condition.reset_parameters()
    unused = _load_checked(file, targets, card)
    if (folder / POLICY).exists():
        _load_checked(WeightsFile.open(folder / CONDITION), model.condition.state_dict(), card)
    unused |= {name: file.read(name) for name in statistics}
    config = read_json(folder / CONFIG) if (folder / CONFIG).exists() else None
    return model, Origin(layout, file.dtypes, file.metadata, unused, config, processor_files(folder))


def _open(folder: Path) -> tuple[WeightsFile, list[str]]:
    """The weights without the statistics among them, and the names of those."""
    file = WeightsFile.open_folder(folder)
    statistics = buffer_names(file)
    return file.without(statistics), statistics


def _build(folder: Path, file: WeightsFile, card: PolicyCard) -> tuple[Pi0FlowModel, dict[str, Tensor], Layout]:
    """The network without values, its tensors by their names in the file, and the layout that has these names."""
    try:
        layout = detect_layout(file.shapes)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from error
    architecture = read_architecture(folder, file.shapes)
    with no_init_weights():
        model = Pi0FlowModel(architecture, card.condition_mode)
    return model, _targets(model, layout, file.shapes), layout


def _load_checked(file: WeightsFile, targets: Mapping[str, Tensor], card: PolicyCard) -> dict[str, Tensor]:
    """Names and shapes first, so that the error names the tensor; then the checksum, if one is recorded."""
    file.check(targets)
    if file.path.name in card.sha256:
        _check_sum(file.path, card.sha256[file.path.name])
    return file.copy_into(targets)


def _check_sum(path: Path, recorded: str) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"weights not found: {path}, which {POLICY} names")
    if sha256(path) != recorded:
        raise ValueError(f"{path}: damaged: its SHA-256 is not the one in {POLICY}")


def _targets(model: Pi0FlowModel, layout: Layout, present: Mapping[str, Any]) -> dict[str, Tensor]:
    """Name in the file → tensor of the model; the text embedding under each name that is present, the input's first."""
    state = {name: tensor for name, tensor in named_tensors(model).items() if not name.startswith("condition.")}
    targets = {layout.rename(name): tensor for name, tensor in state.items()}
    if layout.input_embedding in present:
        if layout.rename(TEXT_EMBEDDING) not in present:
            del targets[layout.rename(TEXT_EMBEDDING)]
        targets = {layout.input_embedding: state[TEXT_EMBEDDING], **targets}
    return targets


def file_tensors(model: Pi0FlowModel, origin: Origin) -> dict[str, Tensor]:
    """What is written: in the original's dtype where that is exact, and a copy for a second name of one tensor."""
    tensors = {}
    for name, tensor in _targets(model, origin.layout, origin.dtypes).items():
        stored = tensor.to(origin.dtypes.get(name, tensor.dtype))
        kept = stored if torch.equal(stored.to(tensor.dtype), tensor) else tensor
        tensors[name] = kept.clone() if name == origin.layout.input_embedding else kept
    return {**tensors, **origin.unused}
