"""Which features of a dataset are π0's cameras, state and actions, and what its numbers mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from ript.checks import one_of
from ript.models.pi0.dims import ACTION_DIM, MAX_ASPECT, STATE_DIM

Gripper = Literal["-1_open", "1_open", "0_open"]
"""What the gripper command means: −1 open to 1 closed (π0's own), 1 open to 0 closed, or 0 open to 1 closed."""

EXACT_STATE, EXACT_ACTION = "exact.state", "exact.action"
"""Our exports hold the float64 numbers too; LeRobot's policies read neither."""

KNOWN: dict[str, tuple[str, ...]] = {
    "image": ("observation.images.image", "image"),
    "wrist_image": ("observation.images.image2", "observation.images.wrist_image", "wrist_image"),
    "state": (EXACT_STATE, "observation.state", "state"),
    "action": (EXACT_ACTION, "action", "actions"),
}
"""What is needed → the names it has in public datasets; the first that a dataset has is taken."""
_WIDTHS = {"state": STATE_DIM, "action": ACTION_DIM}


@dataclass(frozen=True)
class FeatureOptions:
    """What the user says about a dataset, where the known names and conventions do not hold; None is not said.

    `image`, `wrist_image`, `state` and `action` are names of features.
    """

    image: str | None = None
    wrist_image: str | None = None
    state: str | None = None
    action: str | None = None
    upside_down: bool = False
    """Whether images are as the simulator renders them, turned by 180°."""
    gripper: Gripper | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> FeatureOptions:
        """From a node of the configuration. Raises ValueError for a key or a value that is not valid."""
        options = dict(options or {})
        for key, value in options.items():
            one_of("key of lerobot_features", key, [field.name for field in fields(cls)])
            if key == "gripper":
                one_of("lerobot_features.gripper", value, (*get_args(Gripper), None))
            elif key == "upside_down":
                one_of("lerobot_features.upside_down", value, (True, False))
        return cls(**options)


@dataclass(frozen=True)
class FeatureNames:
    """The features of one dataset that are used."""

    image: str
    wrist_image: str
    state: str
    action: str

    @property
    def cameras(self) -> tuple[str, str]:
        """Outer camera, wrist camera."""
        return self.image, self.wrist_image


def find_features(info: Path, features: Mapping[str, Mapping[str, Any]], options: FeatureOptions) -> FeatureNames:
    """The features by their known names, or those that the options name.

    Args:
        info: `meta/info.json`, for messages.
        features: its `features`: name → dtype and shape.

    Raises ValueError naming file and feature for one that is missing or of the wrong shape.
    """
    found = {}
    for role, known in KNOWN.items():
        wanted = getattr(options, role)
        name = _first((wanted,) if wanted else known, features)
        if name is None:
            looked_for = wanted or " or ".join(known)
            raise ValueError(
                f"{info}: features has no {looked_for} for {role}; it has {', '.join(features)}. "
                f"Name it with lerobot_features.{role}"
            )
        _check_shape(info, name, features[name], role)
        found[role] = name
    return FeatureNames(**found)


def _first(names: Sequence[str], features: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in features), None)


def _check_shape(info: Path, name: str, feature: Mapping[str, Any], role: str) -> None:
    shape, dtype = list(feature.get("shape", ())), feature.get("dtype")
    if role in _WIDTHS:
        if shape != [_WIDTHS[role]] or dtype not in ("float32", "float64"):
            raise ValueError(
                f"{info}: features[{name}] is {shape} {dtype}, expected [{_WIDTHS[role]}] float32 or float64"
            )
        return
    sides = sorted(shape)[1:] if len(shape) == 3 and 3 in (shape[0], shape[2]) else []
    if dtype not in ("image", "video") or not sides or not 0 < sides[1] <= MAX_ASPECT * sides[0]:
        raise ValueError(f"{info}: features[{name}] is {shape} {dtype}, expected [H, W, 3] image or video")
