"""How the weights of a policy folder must be used: `policy.json`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ript.checks import whole_number
from ript.json_files import read_json, write_json
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.models.pi0.config import Kind
from ript.models.pi0.folders import POLICY
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.norm_stats import MODES, Mode
from ript.models.pi0.preprocess import CAMERAS

SCHEMA_VERSION = 1
_LATER = {"state_normalization": None, "open_loop": None, "cameras": list(CAMERAS)}
"""Keys that cards of earlier versions lack, and what they meant."""


@dataclass(frozen=True)
class BaseWeights:
    """The folder whose weights an adapter belongs to."""

    path: str
    sha256: str
    """Of its model.safetensors."""

    def __post_init__(self) -> None:
        """Raises ValueError unless both are strings."""
        for name, value in asdict(self).items():
            if not isinstance(value, str):
                raise ValueError(f"{name}={value!r} is not valid: must be a string")


@dataclass(frozen=True)
class PolicyCard:
    """Stored with the weights and checked at loading."""

    condition_mode: str
    delta_actions: bool = False
    """All action dimensions but the last, the gripper's, are relative to the chunk's start state."""
    normalization: Mode = "z_score"
    """Of the actions, and of the state unless `state_normalization` says another."""
    state_normalization: Mode | None = None
    discrete_state_input: bool = False
    """π0.5: the state is written into the prompt."""
    cameras: tuple[str, ...] = CAMERAS
    """π0's names of the cameras that it looks through, in the order of `CAMERAS`."""
    open_loop: int | None = None
    """Executed steps per inference where nothing else is asked for; None is the whole chunk."""
    lora: LoraSettings | None = None
    """The folder holds an adapter of these sizes."""
    base: BaseWeights | None = None
    """What the adapter belongs to."""
    sha256: dict[str, str] = field(default_factory=dict)
    """File name → SHA-256 of the folder's weights."""
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        """Raises ValueError for cameras that π0 has not, or none."""
        if not self.cameras or tuple(name for name in CAMERAS if name in self.cameras) != tuple(self.cameras):
            raise ValueError(
                f"cameras={list(self.cameras)} is not valid: one or more, in this order: {', '.join(CAMERAS)}"
            )

    @classmethod
    def for_foreign(cls, kind: Kind, condition_mode: str) -> "PolicyCard":
        """What openpi's LIBERO checkpoints need: they have no such file."""
        if kind == "pi05":
            return cls(condition_mode, delta_actions=False, normalization="quantile")
        return cls(condition_mode, delta_actions=True, normalization="z_score")

    def save(self, folder: Path) -> None:
        """Writes `policy.json`."""
        write_json(folder / POLICY, asdict(self))


def read_policy_card(folder: Path) -> PolicyCard:
    """Reads `policy.json`. Raises FileNotFoundError or ValueError naming file, key and valid values."""
    path = folder / POLICY
    content = read_json(path)
    expected = set(PolicyCard.__dataclass_fields__)
    content = _LATER | content
    if set(content) != expected:
        raise ValueError(f"{path}: keys must be {sorted(expected)}, got {sorted(content)}")
    valid = {
        "schema_version": (SCHEMA_VERSION,),
        "condition_mode": CONDITION_MODES,
        "normalization": MODES,
        "state_normalization": (None, *MODES),
        "delta_actions": (True, False),
        "discrete_state_input": (True, False),
    }
    for key, values in valid.items():
        if content[key] not in values:
            raise ValueError(f"{path}: {key} {content[key]!r} is not one of {values}")
    try:
        whole_number("open_loop", content["open_loop"], 1)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if not isinstance(content["cameras"], list):
        raise ValueError(f"{path}: cameras must be a list of names")
    if not isinstance(content["sha256"], dict):
        raise ValueError(f"{path}: sha256 must map file names to checksums")
    if (content["lora"] is None) != (content["base"] is None):
        raise ValueError(f"{path}: lora and base belong together")
    lora, base = (_record(path, content, key, kind) for key, kind in (("lora", LoraSettings), ("base", BaseWeights)))
    try:
        return PolicyCard(**{**content, "lora": lora, "base": base, "cameras": tuple(content["cameras"])})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _record(path: Path, content: Mapping[str, Any], key: str, kind: Any) -> Any:
    if content[key] is None:
        return None
    try:
        return kind(**content[key])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {key}: {error}") from error
