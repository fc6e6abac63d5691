"""Safetensors files, read strictly: every name and shape is checked before a single value is used.

The format holds numbers and names only; nothing in a file is ever executed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class WeightsFile:
    """The header of a safetensors file."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]
    metadata: dict[str, str]

    @classmethod
    def open(cls, path: Path) -> "WeightsFile":
        """Raises FileNotFoundError, or ValueError for a file that is truncated, not safetensors or not of floats."""
        if not path.is_file():
            raise FileNotFoundError(f"weights not found: {path}")
        try:
            with safe_open(path, "pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
        except SafetensorError as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
        kinds = {name: entry.get_dtype() for name, entry in slices.items()}
        wrong = [f"{name} is {kind}" for name, kind in kinds.items() if kind not in DTYPES]
        if wrong:
            raise ValueError(f"{path}: tensors must be one of {', '.join(DTYPES)}; {'; '.join(sorted(wrong))}")
        shapes = {name: tuple(entry.get_shape()) for name, entry in slices.items()}
        return cls(path, shapes, {name: DTYPES[kind] for name, kind in kinds.items()}, metadata)

    def check(self, targets: Mapping[str, Tensor]) -> None:
        """Raises one ValueError with every missing, unexpected and misshapen tensor."""
        problems = [f"missing {name}" for name in sorted(targets.keys() - self.shapes.keys())]
        problems += [f"unexpected {name}" for name in sorted(self.shapes.keys() - targets.keys())]
        problems += [
            f"{name} is {self.shapes[name]}, expected {tuple(targets[name].shape)}"
            for name in sorted(targets.keys() & self.shapes.keys())
            if self.shapes[name] != tuple(targets[name].shape)
        ]
        if problems:
            raise ValueError(f"{self.path}: " + "; ".join(problems))

    @torch.no_grad()
    def copy_into(self, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fills `targets` in place, in their own dtype; raises ValueError as `check` does.

        Where several names have one target, the first fills it. Those that hold other values are returned.
        """
        self.check(targets)
        filled: set[int] = set()
        others = {}
        with safe_open(self.path, "pt") as file:
            for name, target in targets.items():
                values = file.get_tensor(name)
                if id(target) not in filled:
                    filled.add(id(target))
                    target.copy_(values)
                elif not torch.equal(target, values.to(target)):
                    others[name] = values
        return others


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Writes tensors and returns the file's SHA-256."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, dict(metadata or {})
    )
    return sha256(path)


def sha256(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
