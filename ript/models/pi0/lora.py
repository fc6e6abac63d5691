"""LoRA adapters (arXiv 2106.09685) on the language model and on the action expert, through peft."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ript.checks import in_range, one_of, whole_number
from ript.models.pi0.folders import ADAPTER_WEIGHTS
from ript.models.pi0.modeling import HEADER_MODULES, Pi0FlowModel
from ript.models.pi0.weights_file import WeightsFile, write_weights

TARGETS = {
    "vlm": ("model.vlm.language_model.layers.",),
    "expert": ("model.dit.layers.",),
    "both": ("model.vlm.language_model.layers.", "model.dit.layers."),
}


@dataclass(frozen=True)
class LoraSettings:
    """Where adapters go and how large they are; the change they make is alpha / r · B·A."""

    target: str
    """`vlm` (its language model), `expert` or `both`: the projections of attention and MLP."""
    r: int = 16
    alpha: int = 16
    dropout: float = 0.0
    """Probability, while training."""

    @classmethod
    def from_config(cls, content: Mapping[str, Any]) -> "LoraSettings":
        """Raises ValueError naming an unknown or missing setting."""
        for key in content:
            one_of("lora setting", key, tuple(cls.__dataclass_fields__))
        if "target" not in content:
            raise ValueError(f"lora.target is missing. Valid: {', '.join(TARGETS)}")
        return cls(**content)

    def __post_init__(self) -> None:
        """Raises ValueError naming the setting and its valid values."""
        one_of("lora.target", self.target, tuple(TARGETS))
        whole_number("lora.r", self.r, 1)
        whole_number("lora.alpha", self.alpha, 1)
        in_range("lora.dropout", self.dropout, 0, 1)


def add_lora(model: Pi0FlowModel, settings: LoraSettings) -> None:
    """Adds adapters that change nothing yet, in place. Only they and the header stay trainable."""
    inject_adapter_in_model(_peft_config(model, settings), model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name or name.startswith(HEADER_MODULES))


def merge_lora(model: Pi0FlowModel) -> None:
    """Adds the adapters' change to the weights, in float32, and removes the adapters. In place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            base = module.get_base_layer().float()
            module.merge()
            model.set_submodule(name, base)


def save_lora(folder: Path, model: Pi0FlowModel, settings: LoraSettings) -> str:
    """Writes `adapter_model.safetensors` (adapters and projections, peft's names) and `adapter_config.json`.

    Returns the SHA-256 of the weights.
    """
    _peft_config(model, settings).save_pretrained(str(folder))
    return write_weights(folder / ADAPTER_WEIGHTS, _adapter_tensors(model), {"format": "pt"})


def open_lora(folder: Path, model: Pi0FlowModel) -> tuple[WeightsFile, dict[str, Tensor]]:
    """The adapter's file and the tensors of `model` that it fills."""
    return WeightsFile.open(folder / ADAPTER_WEIGHTS), _adapter_tensors(model)


def _adapter_tensors(model: Pi0FlowModel) -> dict[str, Tensor]:
    """Peft's name → adapters and projections; the condition has a file of its own."""
    return {
        "base_model.model." + name.replace(".default.", "."): parameter.detach()
        for name, parameter in model.named_parameters()
        if "lora_" in name or (name.startswith(HEADER_MODULES) and not name.startswith("condition."))
    }


def _peft_config(model: Pi0FlowModel, settings: LoraSettings) -> LoraConfig:
    """Adapters go on projections that a velocity depends on: those of the last prefix layer do not count."""
    unreachable = {id(module) for root in model.unreachable_modules() for module in root.modules()}
    targets = [
        name
        for name, module in model.named_modules()
        if name.startswith(TARGETS[settings.target])
        and name.split(".")[-2] in ("self_attn", "mlp")
        and isinstance(module, nn.Linear | LoraLayer)
        and id(module) not in unreachable
    ]
    return LoraConfig(
        r=settings.r, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets, bias="none"
    )
