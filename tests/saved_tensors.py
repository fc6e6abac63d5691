"""Torch's own count of what a forward pass keeps for its backward pass."""

import weakref
from typing import Any

import torch
from torch import Tensor

from ript.estimate.activations import Workload
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.preprocess import CAMERAS


class Saved:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor


def measure_saved_bytes(model: Pi0FlowModel, work: Workload) -> int:
    """Distinct storages that the graph still holds before the backward pass; parameters and buffers left out."""
    own = {id_of(tensor) for tensor in (*model.parameters(), *model.buffers())}
    alive: weakref.WeakSet[Saved] = weakref.WeakSet()

    def keep(tensor: Tensor) -> Saved:
        saved = Saved(tensor.detach())  # an output with its graph would hold itself alive
        alive.add(saved)
        return saved

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda saved: saved.tensor):
        held = forward(model, work)
    sizes = {id_of(saved.tensor): saved.tensor.untyped_storage().nbytes() for saved in alive}
    prefixes = {id_of(t): t.untyped_storage().nbytes() for prefix in held[1:] for kv in prefix.keys_values for t in kv}
    return sum(size for key, size in {**prefixes, **sizes}.items() if key not in own)


def forward(model: Pi0FlowModel, work: Workload) -> tuple[Any, ...]:
    """The loss, and the prefixes that live beside it."""
    architecture, batch = model.architecture, work.batch_size
    size, device = architecture.vision.image_size, model.device
    tokens = torch.ones(batch, work.prompt_tokens, dtype=torch.long, device=device)
    prefix = model.prefix(torch.zeros(batch, len(CAMERAS), 3, size, size, device=device), tokens, tokens)
    repeated = prefix.repeat(work.branches) if work.branches > 1 else prefix
    state, time = torch.zeros(batch, 32, device=device), torch.ones(batch, device=device)
    x_t = torch.zeros(batch, architecture.chunk_size, 32, device=device)
    losses = [
        model.branch_velocities(repeated, state, x_t, time, (1, 0)[: work.branches]).square().mean()
        for _ in range(work.scored_steps)
    ]
    return torch.stack(losses).sum(), prefix, repeated


def id_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
