"""Weights that ranks share out between them (FSDP2); sharded tensors are made and gathered here only.

A rank holds 1/N of each parameter, of its gradient and of its optimizer states. A unit's weights are whole only while
it computes: they are gathered before its forward and its backward pass, and its gradient is added up over ranks, as
without sharding, and shared out at once. So all ranks call the same modules equally often while they train.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from ript.distributed import Distributed

T = TypeVar("T")
warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # nothing here is changed in place
MODES = ("replicate", "fsdp2")


class Sharding:
    """The sharded modules of one policy."""

    def __init__(self, distributed: Distributed) -> None:
        self.mesh = distributed.mesh()
        self.roots: list[FSDPModule] = []
        self.is_gathered = False
        """Every rank has the weights whole."""

    def share_out(
        self,
        root: nn.Module,
        units: Sequence[nn.Module] = (),
        calls: Sequence[str] = (),
        kept: Sequence[nn.Parameter] = (),
    ) -> None:
        """Shards the root's parameters in place; those in `units` are gathered unit by unit, others with the root.

        `calls` are the methods, besides `forward`, that the root is called by; `kept` are parameters that stay whole.
        """
        own = {id(parameter) for parameter in kept}
        for module in (*units, root):
            if any(id(parameter) not in own for parameter in module.parameters()):
                fully_shard(module, mesh=self.mesh, reshard_after_forward=True, ignored_params=set(kept))
                assert isinstance(module, FSDPModule)
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
        assert isinstance(root, FSDPModule)
        for name in calls:
            register_fsdp_forward_method(root, name)
        root._get_fsdp_state()._lazy_init()  # otherwise the first forward pass does it, and `gathered` comes before
        self.roots.append(root)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within the block every rank has the weights whole, as they are when it begins, and calls modules on its own.

        The beginning is a collective, the end is none. Blocks may lie in one another.
        """
        if self.is_gathered:
            yield
            return
        self._reset(reshard_after_forward=False)
        for root in self.roots:
            for module in root.modules():  # type: ignore[attr-defined]
                if isinstance(module, FSDPModule):
                    module.unshard()
        self.is_gathered = True
        try:
            yield
        finally:
            self.is_gathered = False
            self._reset(reshard_after_forward=True)

    def _reset(self, reshard_after_forward: bool) -> None:
        """Drops gathered weights, which may be old, and the record of calls, which may differ between ranks."""
        for root in self.roots:
            root.reset_iter_state()
            root.set_reshard_after_forward(reshard_after_forward)


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all ranks if it is sharded; then a collective."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_state(state: T, is_kept: bool) -> T:
    """A nested state with every sharded tensor gathered to the CPU. A collective.

    Ranks where it is not kept take part and get empty tensors instead.
    """

    def gather(leaf: Any) -> Any:
        if not isinstance(leaf, DTensor):
            return leaf
        found = leaf.full_tensor()
        return found.cpu() if is_kept else found.new_empty(0, device="cpu")

    return tree_map(gather, state)


@torch.no_grad()
def shared_out_as(tensor: Tensor, other: Tensor) -> Tensor:
    """This rank's part of a tensor that all ranks have whole, if `other`, which has its shape, is sharded."""
    if not isinstance(other, DTensor) or isinstance(tensor, DTensor) or tensor.shape != other.shape:
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None)


def shared_out_optimizer(state: Mapping[str, Any], parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
    """An optimizer's whole state with the moments of sharded parameters shared out; those of no parameter stay."""
    moments = dict(state["state"])
    for number, parameter in enumerate(parameters):
        if number in moments:
            moments[number] = {name: shared_out_as(value, parameter) for name, value in moments[number].items()}
    return {**state, "state": moments}
