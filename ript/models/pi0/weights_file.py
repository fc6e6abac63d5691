"""Safetensors files, read strictly: every name and shape is checked before a single value is used.

The format holds numbers and names only; nothing in a file is ever executed.
"""

import hashlib
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ript.json_files import read_json
from ript.models.pi0.folders import INDEX, WEIGHTS

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
WRAPPERS = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put in front of a name."""


@dataclass(frozen=True)
class WeightsFile:
    """The header of a safetensors file, or of several that belong together."""

    path: Path
    """The file, or the index of several: what an error names."""
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, torch.dtype]
    metadata: dict[str, str]
    places: dict[str, tuple[Path, str]]
    """Name → the file that holds the tensor, and its name there."""

    @classmethod
    def open(cls, path: Path) -> "WeightsFile":
        """One file. Names come without `WRAPPERS`.

        Raises FileNotFoundError, or ValueError for a file that is truncated, not safetensors or not of floats.
        """
        if not path.is_file():
            raise FileNotFoundError(f"weights not found: {path}")
        try:
            with safe_open(path, "pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
        kinds = {name: entry.get_dtype() for name, entry in slices.items()}
        wrong = [f"{name} is {kind}" for name, kind in kinds.items() if kind not in DTYPES]
        if wrong:
            raise ValueError(f"{path}: tensors must be one of {', '.join(DTYPES)}; {'; '.join(sorted(wrong))}")
        names = {name: _unwrapped(name) for name in slices}
        if len(set(names.values())) < len(names):
            raise ValueError(f"{path}: tensors are there twice, with and without {' or '.join(WRAPPERS)} in front")
        return cls(
            path,
            {names[name]: tuple(entry.get_shape()) for name, entry in slices.items()},
            {names[name]: DTYPES[kind] for name, kind in kinds.items()},
            metadata,
            {names[name]: (path, name) for name in slices},
        )

    @classmethod
    def open_folder(cls, folder: Path) -> "WeightsFile":
        """The weights in a folder: `model.safetensors`, or the files that `model.safetensors.index.json` lists.

        Raises FileNotFoundError or ValueError naming the file.
        """
        index = folder / INDEX
        if (folder / WEIGHTS).is_file() or not index.is_file():
            return cls.open(folder / WEIGHTS)
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{index}: weight_map must map the names of tensors to files")
        shards = [cls.open(folder / name) for name in _file_names(index, weight_map.values())]
        listed, found = {_unwrapped(name) for name in weight_map}, [name for shard in shards for name in shard.shapes]
        if sorted(listed) != sorted(found):
            raise ValueError(f"{index}: does not fit its files, in {', '.join(sorted(listed ^ set(found))[:3])}")
        return cls(
            index,
            {name: shape for shard in shards for name, shape in shard.shapes.items()},
            {name: dtype for shard in shards for name, dtype in shard.dtypes.items()},
            shards[0].metadata,
            {name: place for shard in shards for name, place in shard.places.items()},
        )

    def without(self, names: Iterable[str]) -> "WeightsFile":
        """The same file as if these tensors were not in it."""
        kept = self.shapes.keys() - set(names)
        return replace(
            self,
            shapes={name: shape for name, shape in self.shapes.items() if name in kept},
            dtypes={name: dtype for name, dtype in self.dtypes.items() if name in kept},
        )

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
        for name, target in targets.items():
            values = self.read(name)
            if id(target) not in filled:
                filled.add(id(target))
                target.copy_(values)
            elif not torch.equal(target, values.to(target)):
                others[name] = values
        return others

    def read(self, name: str) -> Tensor:
        """One tensor."""
        path, stored = self.places[name]
        with safe_open(path, "pt") as file:
            return file.get_tensor(stored)

    @property
    def sha256(self) -> str:
        """Of the file; of several, that of all their bytes in the order of their names."""
        return sha256(*sorted({path for path, _ in self.places.values()}))


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name.replace("._orig_mod.", ".")


def _file_names(index: Path, listed: Iterable[object]) -> list[str]:
    """The files of an index; they lie beside it."""
    names = []
    for name in listed:
        if not isinstance(name, str) or Path(name).name != name or len(name.encode(errors="replace")) > 255:
            raise ValueError(f"{index}: weight_map names {name!r}, which is not the name of a file beside it")
        names.append(name)
    return sorted(set(names))


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Its `state_dict`, of parameters alone; torch's own would share out again what was gathered of sharded weights."""
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


def write_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Writes tensors and returns the file's SHA-256."""
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, dict(metadata or {})
    )
    apply_umask(path)
    return sha256(path)


def apply_umask(path: Path) -> None:
    """Gives a file the permissions of any new file; safetensors makes its files private to their owner."""
    probe = path.with_name(f".{path.name}.permissions")
    probe.touch()
    path.chmod(stat.S_IMODE(probe.stat().st_mode))
    probe.unlink()


def sha256(*paths: Path) -> str:
    """The SHA-256 of the files' bytes, one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
