"""Torch's own count of the storages that are alive at one time."""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakMemory(TorchDispatchMode):
    """Counts storages that operators make, from birth to death; works for fake tensors too."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        return out

    def add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self.alive:
            return
        self.alive[storage._cdata] = storage.nbytes()
        weakref.finalize(storage, self.drop, storage._cdata)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)

    def drop(self, key: int) -> None:
        self.now -= self.alive.pop(key)
