"""The names that openpi and LeRobot give to π0's tensors and sizes: the one place that knows them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ript.checks import one_of, whole_number
from ript.models.pi0.config import GEMMA_VARIANTS, PADDED_DIM, Kind, Pi0Architecture, public_architecture

VARIANTS = ("paligemma_variant", "action_expert_variant")
WIDTHS = ("max_action_dim", "max_state_dim")
TEXT_EMBEDDING = "model.vlm.language_model.embed_tokens.weight"
EXPERT_EMBEDDING = "model.dit.embed_tokens.weight"


@dataclass(frozen=True)
class Layout:
    """How a tool names the network's tensors."""

    name: str
    renames: tuple[tuple[str, str], ...]
    """(our prefix, theirs), the first that fits counts."""
    input_embedding: str
    """A second name of the language model's embedding, which the network also calls its output layer.

    openpi ties the two and writes the output layer; LeRobot fine-tunes the input alone and writes both.
    """

    def rename(self, name: str) -> str:
        """Our name → theirs."""
        for ours, theirs in self.renames:
            if name.startswith(ours):
                return theirs + name.removeprefix(ours)
        raise KeyError(f"the {self.name} layout has no name for {name}")


def _openpi_names(prefix: str) -> tuple[tuple[str, str], ...]:
    paligemma, expert = prefix + "paligemma_with_expert.paligemma.", prefix + "paligemma_with_expert.gemma_expert."
    return (
        ("model.vlm.vision_tower.", paligemma + "model.vision_tower.vision_model."),
        (TEXT_EMBEDDING, paligemma + "lm_head.weight"),
        ("model.vlm.", paligemma + "model."),
        (EXPERT_EMBEDDING, expert + "lm_head.weight"),
        ("model.dit.", expert + "model."),
        ("embed_action_time.", prefix),
        ("action_out_proj.", prefix + "action_out_proj."),
    )


_LEGACY = "model.paligemma_with_expert.paligemma."
OPENPI = Layout(
    "openpi",
    _openpi_names(""),
    input_embedding="paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight",
)
"""openpi's PyTorch checkpoints; also that of our own networks."""
LEROBOT = Layout(
    "lerobot",
    _openpi_names("model."),
    input_embedding="model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight",
)
"""LeRobot's π0 and π0.5 policies."""
LEGACY = Layout(
    "legacy",
    (
        ("model.vlm.vision_tower.", _LEGACY + "vision_tower.vision_model."),
        ("model.vlm.multi_modal_projector.", _LEGACY + "multi_modal_projector."),
        (TEXT_EMBEDDING, _LEGACY + "language_model.lm_head.weight"),
        ("model.vlm.language_model.", _LEGACY + "language_model.model."),
        *_openpi_names("model.")[3:],
    ),
    input_embedding=_LEGACY + "language_model.model.embed_tokens.weight",
)
"""LeRobot's first π0 and openpi_pytorch, from before transformers 4.52 renamed PaliGemma's parts."""


def detect_layout(names: Iterable[str]) -> Layout:
    """The layout of a file's tensor names. Raises ValueError when it is none of the known ones."""
    marks = (
        (LEGACY, _LEGACY + "language_model."),
        (LEROBOT, "model.paligemma_with_expert."),
        (OPENPI, "paligemma_with_expert."),
    )
    found = sorted(names)
    for layout, mark in marks:
        if any(name.startswith(mark) for name in found):
            return layout
    raise ValueError(f"not a π0 of openpi or LeRobot: no tensor named paligemma_with_expert.…, but {found[:3]}")


def detect_kind(names: Iterable[str]) -> Kind:
    """π0.5 has a time MLP of its own, and adaRMS norms."""
    parts = {part for name in names for part in name.split(".")}
    return "pi05" if parts & {"time_mlp_in", "time_mlp_out", "dense"} else "pi0"


def read_foreign_config(content: Mapping[str, Any], kind: Kind) -> Pi0Architecture:
    """The sizes that a `config.json` of openpi or LeRobot names. Raises ValueError naming the key.

    LeRobot's first π0 names no variants: it knew one size.
    """
    lerobot = "type" in content
    horizon, widths = ("chunk_size", WIDTHS) if lerobot else ("action_horizon", ("action_dim",))
    defaults = {"paligemma_variant": "gemma_2b", "action_expert_variant": "gemma_300m"} if lerobot else {}
    known = {**defaults, **content}
    for key in (*VARIANTS, horizon, *widths):
        if key not in known:
            raise ValueError(f"key {key!r} is missing")
    for key in VARIANTS:
        one_of(key, known[key], tuple(GEMMA_VARIANTS))
    for key in widths:
        one_of(key, known[key], (PADDED_DIM,))
    whole_number(horizon, known[horizon], 1)
    text, expert = (known[key] for key in VARIANTS)
    return public_architecture(kind, text, expert, known[horizon])
