"""Which parameters of a policy are trained, in which precision, and in which groups."""

from dataclasses import dataclass

import torch
from torch import nn

from ript.checks import one_of
from ript.models.pi0.heads import Heads
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.modeling import HEADER_MODULES, Pi0FlowModel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class TrainedPart:
    """What of the network is trained. The arguments are those of `PI0_OFT_Policy`.

    Raises ValueError for an unknown dtype, and for adapters that would not be trained.
    """

    freeze_vision_encoder: bool = False
    train_expert_only: bool = False
    freeze_policy: bool = False
    dtype: str = "float32"
    lora: LoraSettings | None = None

    def __post_init__(self) -> None:
        """Checks the arguments against each other."""
        one_of("dtype", self.dtype, tuple(DTYPES))
        if self.lora is None:
            return
        if self.freeze_policy:
            raise ValueError("lora is not valid with freeze_policy=true: adapters would not be trained")
        if self.train_expert_only and self.lora.target != "expert":
            raise ValueError(f"lora.target={self.lora.target!r} is not valid with train_expert_only. Valid: expert")

    def choose(self, model: Pi0FlowModel, has_adapter: bool) -> None:
        """Sets what is trainable, and each parameter's precision; the network is left ready to act."""
        if not has_adapter:
            model.train_everything()
        if self.freeze_vision_encoder or self.train_expert_only:
            model.model.vlm.vision_tower.requires_grad_(False)
        if self.train_expert_only:
            model.model.vlm.requires_grad_(False)
        if self.freeze_policy:
            model.requires_grad_(False)
        model.set_precision(DTYPES[self.dtype])
        model.eval()


def group_parameters(model: Pi0FlowModel, heads: Heads) -> dict[str, list[nn.Parameter]]:
    """`header`: the small projections, the time MLP, the condition embedding and the `noise` sampler's head; `value`:
    the critic, if there is one; `latent`: a latent actor that is trained; `model`: all other trainable ones. None is
    empty."""
    groups: dict[str, list[nn.Parameter]] = {"model": [], "header": []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups["header" if name.startswith(HEADER_MODULES) else "model"].append(parameter)
    if heads.log_std is not None:
        groups["header"].extend(heads.log_std.parameters())
    if heads.value is not None:
        groups["value"] = list(heads.value.parameters())
    if heads.latent_actor is not None:
        heads.latent_actor.requires_grad_(heads.trains_latent)
        groups["latent"] = [parameter for parameter in heads.latent_actor.parameters() if parameter.requires_grad]
    return {name: parameters for name, parameters in groups.items() if parameters}
