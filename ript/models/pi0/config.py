"""What kind of network, and how large."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from transformers import PI0Config

from ript.checks import one_of, whole_number
from ript.models.pi0.dims import PADDED_DIM

Kind = Literal["pi0", "pi05"]


@dataclass(frozen=True)
class GemmaSizes:
    """A Gemma decoder: the language model, or the action expert."""

    width: int
    depth: int
    mlp_width: int
    heads: int
    kv_heads: int
    head_dim: int

    def __post_init__(self) -> None:
        """Raises ValueError naming the size that is not a whole number from 1."""
        _check_sizes(self)

    def to_transformers(self, vocab_size: int) -> dict[str, Any]:
        """Keyword arguments of transformers' GemmaConfig."""
        return {
            "model_type": "gemma",
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "intermediate_size": self.mlp_width,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": vocab_size,
        }


@dataclass(frozen=True)
class VisionSizes:
    """A SigLIP vision tower."""

    width: int
    depth: int
    mlp_width: int
    heads: int
    patch_size: int
    image_size: int

    def __post_init__(self) -> None:
        """Raises ValueError naming the size that is not a whole number from 1."""
        _check_sizes(self)

    def to_transformers(self) -> dict[str, Any]:
        """Keyword arguments of transformers' SiglipVisionConfig."""
        return {
            "model_type": "siglip_vision_model",
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "intermediate_size": self.mlp_width,
            "num_attention_heads": self.heads,
            "patch_size": self.patch_size,
            "image_size": self.image_size,
            "vision_use_head": False,
        }


@dataclass(frozen=True)
class Pi0Architecture:
    """A π0 or π0.5. The expert reads the language model's keys and values layer by layer."""

    kind: Kind
    text: GemmaSizes
    expert: GemmaSizes
    vision: VisionSizes
    vocab_size: int
    chunk_size: int
    """Actions per chunk."""

    def __post_init__(self) -> None:
        """Raises ValueError for an unknown kind, or when expert and language model do not fit together."""
        one_of("kind", self.kind, ("pi0", "pi05"))
        whole_number("vocab_size", self.vocab_size, 1)
        whole_number("chunk_size", self.chunk_size, 1)
        for name in ("depth", "heads", "kv_heads", "head_dim"):
            text, expert = getattr(self.text, name), getattr(self.expert, name)
            if text != expert:
                raise ValueError(f"{name} of language model and action expert must be equal, got {text} and {expert}")

    @property
    def image_token_id(self) -> int:
        """Stands where an image token goes; outside the text vocabulary, as in PaliGemma."""
        return self.vocab_size

    def to_transformers(self) -> PI0Config:
        """The configuration of the network's stock parts."""
        vlm = {
            "model_type": "paligemma",
            "text_config": self.text.to_transformers(self.vocab_size),
            "vision_config": self.vision.to_transformers(),
            "projection_dim": self.text.width,
            "image_token_id": self.image_token_id,
        }
        return PI0Config(
            vlm_config=vlm,
            dit_config=self.expert.to_transformers(self.vocab_size),
            chunk_size=self.chunk_size,
            max_action_dim=PADDED_DIM,
            max_state_dim=PADDED_DIM,
        )


def _check_sizes(sizes: GemmaSizes | VisionSizes) -> None:
    for name, value in asdict(sizes).items():
        whole_number(name, 0 if value is None else value, 1)


GEMMA_VARIANTS = {
    "gemma_2b": GemmaSizes(2048, 18, 16384, heads=8, kv_heads=1, head_dim=256),
    "gemma_300m": GemmaSizes(1024, 18, 4096, heads=8, kv_heads=1, head_dim=256),
    "dummy": GemmaSizes(64, 4, 128, heads=8, kv_heads=1, head_dim=16),
}
"""The sizes openpi and LeRobot call by these names."""
SIGLIP_SO400M = VisionSizes(1152, 27, 4304, heads=16, patch_size=14, image_size=224)
PALIGEMMA_VOCABULARY = 257152


def public_architecture(
    kind: Kind,
    text: str = "gemma_2b",
    expert: str = "gemma_300m",
    chunk_size: int = 50,
) -> Pi0Architecture:
    """The network of a public checkpoint, from the names of its variants (keys of `GEMMA_VARIANTS`)."""
    sizes = (GEMMA_VARIANTS[text], GEMMA_VARIANTS[expert], SIGLIP_SO400M)
    return Pi0Architecture(kind, *sizes, PALIGEMMA_VOCABULARY, chunk_size)


def small_pi0_config(
    image_size: int = 96,
    patch_size: int = 16,
    width: int = 128,
    depth: int = 4,
    vision_depth: int = 3,
    vocab_size: int = 512,
    chunk_size: int = 50,
    kind: Kind = "pi0",
) -> Pi0Architecture:
    """A π0 of about 1.7 M parameters that trains on a laptop CPU.

    The same architecture as the 3.5 B model, narrower and shallower: SigLIP vision tower, Gemma prefix, Gemma
    action expert. Action and state vectors keep their padded width of 32, so that shapes are those of π0.
    """
    gemma = GemmaSizes(width, depth, 2 * width, heads=4, kv_heads=1, head_dim=width // 4)
    vision = VisionSizes(width, vision_depth, 2 * width, 4, patch_size, image_size)
    return Pi0Architecture(kind, gemma, gemma, vision, vocab_size, chunk_size)


def small_pi05_config(chunk_size: int = 10, **sizes: int) -> Pi0Architecture:
    """The small π0.5: `sizes` as for `small_pi0_config`."""
    return small_pi0_config(chunk_size=chunk_size, kind="pi05", **sizes)
