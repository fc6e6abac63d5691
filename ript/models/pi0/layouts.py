"""The names that openpi and LeRobot give to π0's tensors and sizes: the one place that knows them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ript.checks import one_of, whole_number
from ript.models.pi0.config import (
    GEMMA_VARIANTS,
    SIGLIP_SO400M,
    GemmaSizes,
    Kind,
    Pi0Architecture,
    VisionSizes,
    public_architecture,
)
from ript.models.pi0.dims import PADDED_DIM

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


PUBLIC_CHUNK: dict[Kind, int] = {"pi0": 50, "pi05": 10}
"""Actions per chunk of openpi's LIBERO checkpoints; no tensor's shape tells it."""


def architecture_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> Pi0Architecture:
    """The sizes of weights that come without any, as openpi's training writes them.

    The number of heads is in no shape, so the sizes must be public ones; the chunk is that of openpi's LIBERO
    checkpoints. Raises ValueError when they are not public.
    """
    layout, kind = detect_layout(shapes), detect_kind(shapes)

    def shape(name: str, dimensions: int = 2) -> tuple[int, ...]:
        found = shapes.get(layout.rename(name), ())
        return found if len(found) == dimensions else (0,) * dimensions

    text, expert = (_gemma_variant(part, shape, shapes, layout) for part in ("vlm.language_model", "dit"))
    tower = "model.vlm.vision_tower."
    width, _, patch, _ = shape(tower + "embeddings.patch_embedding.weight", 4)
    places, _ = shape(tower + "embeddings.position_embedding.weight")
    mlp, _ = shape(tower + "encoder.layers.0.mlp.fc1.weight")
    vision = VisionSizes(
        width,
        _depth(shapes, layout.rename(tower + "encoder.layers.")),
        mlp,
        SIGLIP_SO400M.heads,
        patch,
        round(places**0.5) * patch,
    )
    if vision != SIGLIP_SO400M:
        raise ValueError(f"the shapes of the vision tower are those of no public π0: {vision}")
    embedding = shape(TEXT_EMBEDDING)[0] or shapes.get(layout.input_embedding, (0,))[0]
    return Pi0Architecture(kind, text, expert, vision, embedding, PUBLIC_CHUNK[kind])


def _gemma_variant(
    part: str,
    shape: Callable[[str], tuple[int, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    layout: Layout,
) -> GemmaSizes:
    layers = f"model.{part}.layers."
    queries, keys, gate = (
        shape(f"{layers}0.{name}.weight") for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj")
    )
    found = (gate[1], _depth(shapes, layout.rename(layers)), gate[0], queries[0], keys[0])
    for sizes in GEMMA_VARIANTS.values():
        heads, kv_heads = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        if found == (sizes.width, sizes.depth, sizes.mlp_width, heads, kv_heads):
            return sizes
    raise ValueError(f"the shapes of {part} are those of no public Gemma: {', '.join(GEMMA_VARIANTS)}")


def _depth(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """How many layers have tensors."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
