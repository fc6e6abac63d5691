"""Bytes that a rank holds where weights are shared out (`cluster.sharding=fsdp2`), told from the network's units."""

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from ript.models.pi0.heads import Heads
from ript.models.pi0.modeling import Pi0FlowModel

BUFFERS = 4
"""Sizes of a unit while it is in the backward pass: its weights, those of the unit that comes next, its gradient, and
the copy of that which is added up over ranks."""


class Gathered(NamedTuple):
    """What is whole for a while, in bytes."""

    passing: int
    """In a backward pass: what is gathered with the root, and the largest unit with its `BUFFERS`."""
    acting: int
    """While the policy acts: everything, and what inference takes beside the weights."""


def split_weights(model: Pi0FlowModel, heads: Heads, share: int) -> tuple[int, int]:
    """Bytes of the weights that each rank has whole, and of those that it has a share of."""
    everything = weight_bytes([*model.parameters(), *heads.parameters()])
    if share == 1:
        return everything, 0
    frozen_heads = [p for p in heads.parameters() if not p.requires_grad]
    kept = weight_bytes([*model.kept_whole(), *frozen_heads])
    return kept, everything - kept


def gathered_bytes(model: Pi0FlowModel, shared: int, inference: int) -> Gathered:
    """`shared` are the bytes of all sharded weights, `inference` what acting takes beside them.

    Embeddings are not among the units: their turn comes when all else of a backward pass is done.
    """
    kept = {id(parameter) for parameter in model.kept_whole()}
    sizes = {unit: weight_bytes(p for p in unit.parameters() if id(p) not in kept) for unit in model.sharding_units()}
    root = shared - sum(sizes.values())
    largest = max(size for unit, size in sizes.items() if not isinstance(unit, nn.Embedding))
    return Gathered(root + BUFFERS * largest, shared + inference)


def weight_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """As they are stored."""
    return sum(p.numel() * p.element_size() for p in parameters)
