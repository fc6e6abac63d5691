"""The only place that talks to torch.distributed, but for weights that are shared out (`ript.sharding`)."""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor


@dataclass
class Distributed:
    """The processes of one run. The default is a single process, whose collectives do nothing.

    Every method is a collective: all ranks call the same ones in the same order, whatever they collected.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    store: dist.Store | None = None
    """The key-value store of the process group, for counters that all ranks share."""

    @classmethod
    def start(cls, device: torch.device) -> "Distributed":
        """Joins the group that torchrun announced (gloo on a CPU, nccl on CUDA); one process needs no group.

        Raises ValueError naming a variable of torchrun's that is missing or not a number.
        """
        fill_in_environment(os.environ)
        if os.environ["WORLD_SIZE"] == "1":
            return cls(device=device)
        store, rank, world_size = next(iter(dist.rendezvous("env://")))
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=world_size)
        return cls(rank, world_size, device, dist.PrefixStore("ript", store))

    @property
    def is_main(self) -> bool:
        """True on rank 0."""
        return self.rank == 0

    def stop(self) -> None:
        """Leaves the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.world_size > 1:
            dist.barrier()

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Adds the values over ranks, key by key, in float64. The ranks may hold different keys."""
        total: dict[str, float] = {}
        for part in self.gather(dict(values)):
            for key, value in part.items():
                total[key] = total.get(key, 0.0) + value
        return total

    def max(self, value: int) -> int:
        """The largest value of any rank."""
        return max(self.gather(value))

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, in rank order, on every rank. The values are small Python objects."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds the gradients over ranks, in place; a parameter without a gradient counts as zero.

        Those of sharded parameters were added in the backward pass.
        """
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.world_size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None and not isinstance(p.grad, DTensor)]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, total in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def mesh(self) -> DeviceMesh:
        """All ranks in a row, to shard over."""
        return init_device_mesh(self.device.type, (self.world_size,))

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Copies rank 0's tensors to all ranks, in place."""
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, src=0)


def fill_in_environment(environ: os._Environ | dict[str, str]) -> None:
    """What torchrun would have set: a single process with a free port.

    Raises ValueError where the variables are there in part: something else than torchrun set them.
    """
    if "RANK" in environ or environ.get("WORLD_SIZE", "1") != "1":
        _check_environment(environ)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ.update(RANK="0", WORLD_SIZE="1", LOCAL_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))


def _check_environment(environ: Mapping[str, str]) -> None:
    needed = ["RANK", "WORLD_SIZE"]
    if environ.get("WORLD_SIZE") != "1":
        needed += ["MASTER_ADDR", "MASTER_PORT"]
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        raise ValueError(f"{missing[0]} is not set, but RANK or WORLD_SIZE is: start with torchrun, or unset both")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"):
        if name in environ and not (environ[name].isascii() and environ[name].isdecimal()):
            raise ValueError(f"{name}={environ[name]!r} is not valid: must be a whole number")
    if int(environ["RANK"]) >= int(environ["WORLD_SIZE"]):
        raise ValueError(f"RANK={environ['RANK']} is not valid: must be below WORLD_SIZE={environ['WORLD_SIZE']}")
