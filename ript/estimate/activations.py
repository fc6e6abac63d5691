"""Bytes that autograd keeps for the backward pass, by a formula.

Counted are the inputs of matrix products, norms, nonlinearities and attention: what their derivatives need. With c
bytes per number of the compute dtype, width w, MLP width m, q = heads · head_dim, k = kv_heads · head_dim and K keys, a
token costs, in bytes:

SigLIP layer   8 w + (n(3) + n(1)) c w + 4 c w + 2 c m   two layer norms and their outputs; q, k, v and attention's
                                                         output; the MLP before and after GELU
Gemma layer    16 w + (n(3) + n(2)) c w                  two RMS norms (input, normalised) and their outputs;
               + 2 c q + c K + 4 c m                     query and attention's output, a row of the mask, the gated MLP
  with LoRA    8 w instead of 16 w, + 7 c r, + c q       norms are frozen; seven narrow outputs; in bfloat16, one cast
  of π0.5      + 2 c w                                   the expert's gated residuals
keys, values   2 c k, or c (q + k), or 2 c q             for each key; in bfloat16, casting copies them to all heads

n(i) is 1 in float32, where i products share their input, and i in bfloat16, where autocast copies it for each. Norms
are float32 always. Attention is a fused kernel: no attention matrix.

A part with nothing trainable in or before it costs nothing: with a frozen language model only the expert counts. Of the
prefix's last layer only the first norm, keys and values count: nothing else of it reaches the loss.
"""

from dataclasses import dataclass

from ript.models.pi0.config import GemmaSizes, Pi0Architecture, VisionSizes
from ript.models.pi0.preprocess import CAMERAS

FLOAT32 = 4


@dataclass(frozen=True)
class Workload:
    """One forward pass."""

    batch_size: int
    """Observations or windows."""
    prompt_tokens: int
    branches: int
    """Conditions that share a prefix: 2 for guidance and for the two-branch loss, else 1."""
    compute_bytes: int
    """Of a number in the backbone: 4 or 2."""
    scored_steps: int = 1
    """Denoising steps that the loss scores, one after the other on the same prefix."""
    cameras: int = len(CAMERAS)
    """Images of an observation."""

    def copies(self, products: int) -> int:
        """How often the common input of some matrix products is kept."""
        return 1 if self.compute_bytes == FLOAT32 else products


@dataclass(frozen=True)
class Trained:
    """What of the network is trained."""

    vision: bool
    text: bool
    lora_rank: int = 0
    """0 without adapters."""
    vision_checkpointing: bool = False


@dataclass(frozen=True)
class Tokens:
    """Counts per observation."""

    image: int
    prefix: int
    """Images and prompt."""
    suffix: int
    """Actions, and π0's state."""

    @classmethod
    def count(cls, architecture: Pi0Architecture, work: Workload) -> "Tokens":
        """From the sizes of the network."""
        side = architecture.vision.image_size // architecture.vision.patch_size
        image = work.cameras * side**2
        state = 1 if architecture.kind == "pi0" else 0
        return cls(image, image + work.prompt_tokens, architecture.chunk_size + state)


def saved_bytes(architecture: Pi0Architecture, trained: Trained, work: Workload) -> int:
    """Bytes kept of one forward pass when the backward pass begins; copies of weights not included."""
    tokens = Tokens.count(architecture, work)
    total = work.branches * work.scored_steps * suffix_bytes(architecture, trained, work, tokens)
    total += key_value_bytes(architecture, trained, work, tokens)
    if trained.text:
        total += prefix_bytes(architecture, trained, work, tokens)
    if trained.vision:
        total += vision_bytes(architecture, trained, work, tokens)
    return work.batch_size * total


def key_value_bytes(architecture: Pi0Architecture, trained: Trained, work: Workload, tokens: Tokens) -> int:
    """The prefix cache of one observation: once, and once more per branch if there are several."""
    text = architecture.text
    number = FLOAT32 if trained.text and not trained.lora_rank else work.compute_bytes
    copies = 1 if work.branches == 1 else 1 + work.branches
    return copies * text.depth * tokens.prefix * 2 * number * text.kv_heads * text.head_dim


def suffix_bytes(architecture: Pi0Architecture, trained: Trained, work: Workload, tokens: Tokens) -> int:
    """The expert, for one branch of one observation."""
    expert, c = architecture.expert, work.compute_bytes
    queries, keys_values = expert.heads * expert.head_dim, expert.kv_heads * expert.head_dim
    keys = tokens.prefix + tokens.suffix
    full = trained.text and not trained.lora_rank
    wide = queries if c != FLOAT32 else keys_values
    per_key = c * (wide + (wide if full else keys_values))
    gates = 2 * c * expert.width if architecture.kind == "pi05" else 0
    token = gemma_token_bytes(expert, work, keys, trained.lora_rank) + gates
    ends = (5 * FLOAT32 + 3 * FLOAT32) * expert.width  # projections, time MLP and condition; the last norm
    return expert.depth * (tokens.suffix * token + keys * per_key) + tokens.suffix * ends


def prefix_bytes(architecture: Pi0Architecture, trained: Trained, work: Workload, tokens: Tokens) -> int:
    """The language model, for one observation; what the expert reads of it is counted elsewhere."""
    text, c = architecture.text, work.compute_bytes
    token = gemma_token_bytes(text, work, tokens.prefix, trained.lora_rank)
    if c != FLOAT32 and not trained.lora_rank:
        token += 2 * c * text.heads * text.head_dim
    last = (_norm_bytes(trained.lora_rank) + work.copies(2) * c) * text.width
    return tokens.prefix * ((text.depth - 1) * token + last)


def vision_bytes(architecture: Pi0Architecture, trained: Trained, work: Workload, tokens: Tokens) -> int:
    """The vision tower and its projection, for one observation."""
    vision, c = architecture.vision, work.compute_bytes
    layer = vision_token_bytes(vision, work)
    kept = vision.depth * FLOAT32 * vision.width + layer if trained.vision_checkpointing else vision.depth * layer
    ends = (FLOAT32 + c) * vision.width + 3 * c * vision.patch_size**2 + c * architecture.text.width
    return tokens.image * (kept + ends)


def largest_layer_bytes(architecture: Pi0Architecture, work: Workload) -> int:
    """What the largest layer keeps: about the working set of a pass without gradients, or of a backward pass."""
    tokens = Tokens.count(architecture, work)
    keys = tokens.prefix + tokens.suffix
    layers = (
        tokens.image * vision_token_bytes(architecture.vision, work),
        tokens.prefix * gemma_token_bytes(architecture.text, work, tokens.prefix),
        work.branches * tokens.suffix * gemma_token_bytes(architecture.expert, work, keys),
    )
    return work.batch_size * max(layers)


def vision_token_bytes(vision: VisionSizes, work: Workload) -> int:
    """One token in one SigLIP layer."""
    c = work.compute_bytes
    norm_outputs = (work.copies(3) + work.copies(1)) * c
    return (2 * FLOAT32 + norm_outputs + 4 * c) * vision.width + 2 * c * vision.mlp_width


def gemma_token_bytes(sizes: GemmaSizes, work: Workload, keys: int, lora_rank: int = 0) -> int:
    """One token in one Gemma layer, its key and value aside."""
    c, queries = work.compute_bytes, sizes.heads * sizes.head_dim
    norms = 2 * _norm_bytes(lora_rank) + (work.copies(3) + work.copies(2)) * c
    adapters = 7 * c * lora_rank + (c * queries if lora_rank and c != FLOAT32 else 0)
    return norms * sizes.width + 2 * c * queries + 4 * c * sizes.mlp_width + c * keys + adapters


def _norm_bytes(lora_rank: int) -> int:
    """Of an RMS norm, per unit of width: its input, and the normalised input if its weight is trained."""
    return FLOAT32 if lora_rank else 2 * FLOAT32
