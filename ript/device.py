"""Which device a process computes on."""

import os

import torch

from ript.checks import one_of

DEVICES = ("auto", "cpu", "cuda")


def choose_device(name: str) -> torch.device:
    """`auto`, `cpu` or `cuda`; with CUDA the device of this process's local rank. Raises ValueError."""
    one_of("device", name, DEVICES)
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ValueError("device='cuda' is not valid: no CUDA device is available. Valid: auto, cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
