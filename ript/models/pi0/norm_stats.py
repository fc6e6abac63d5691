"""Normalisation statistics of state and actions, in openpi's file format."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ript.json_files import read_json
from ript.models.pi0.dims import ACTION_DIM, PADDED_DIM, STATE_DIM

logger = logging.getLogger(__name__)

EPSILON = 1e-6

Mode = Literal["z_score", "quantile", "min_max", "identity"]
MODES: tuple[Mode, ...] = get_args(Mode)
_BOUNDS: dict[Mode, float] = {"z_score": 5.0, "quantile": 2.0, "min_max": 1.0, "identity": float("inf")}
_KEYS: dict[Mode, tuple[str, str]] = {"z_score": ("mean", "std"), "quantile": ("q01", "q99"), "min_max": ("min", "max")}


@dataclass(frozen=True)
class Normalizer:
    """An invertible affine map of the last axis.

    z-score (x-mean)/(std+ε), quantile (x-q01)/(q99-q01+ε)·2-1, min-max the same with min and max, or the identity.
    A dimension without spread is divided by ε alone, as in openpi.
    """

    offset: np.ndarray
    """mean, q01, min or 0, (D,) float64."""
    scale: np.ndarray
    """std + ε, (q99 - q01 + ε), (max - min + ε) or 1, (D,) float64."""
    mode: Mode

    @property
    def width(self) -> int:
        """D."""
        return len(self.offset)

    @property
    def bound(self) -> float:
        """Data of these statistics hardly ever lie beyond ±this: 5 standard deviations, about 2 if q01, q99 are ±1."""
        return _BOUNDS[self.mode]

    def normalize(self, raw: np.ndarray) -> np.ndarray:
        """Raw (…, D) → normalised (…, D) float32."""
        ratio = (np.asarray(raw, np.float64) - self.offset) / self.scale
        return (ratio * 2 - 1 if self._is_range else ratio).astype(np.float32)

    def unnormalize(self, normalized: np.ndarray) -> np.ndarray:
        """Normalised (…, D) → raw (…, D) float64; the inverse of `normalize`."""
        ratio = np.asarray(normalized, np.float64)
        return ((ratio + 1) / 2 if self._is_range else ratio) * self.scale + self.offset

    def statistics(self, mode: Mode) -> dict[str, list[float]]:
        """The statistics by which z-scores or quantiles (`mode`) are the same map as this one.

        Keys as in openpi's file; mean and std, which it wants always, are given for both.
        """
        unit = self.scale / 2 if self._is_range else self.scale
        centre = self.offset + unit if self._is_range else self.offset
        found = {"mean": centre, "std": unit - EPSILON}
        if mode == "quantile":
            found |= {"q01": centre - unit, "q99": centre + unit - EPSILON}
        return {key: values.tolist() for key, values in found.items()}

    @property
    def _is_range(self) -> bool:
        """Two ends that become -1 and 1, instead of a centre and a unit."""
        return self.mode in ("quantile", "min_max")


@dataclass(frozen=True)
class NormStats:
    """The normalisers of one robot's state and actions. How wide they are, such as 8 and 7, is what the file says."""

    state: Normalizer
    actions: Normalizer

    @classmethod
    def load(cls, path: str | Path, mode: Mode = "z_score", state_mode: Mode | None = None) -> "NormStats":
        """Reads `{"norm_stats": {"state": {…}, "actions": {…}}}`; for `mode` and errors see `from_content`.

        Raises FileNotFoundError too.
        """
        path = Path(path)
        return cls.from_content(path, read_json(path, "norm stats"), mode, state_mode)

    @classmethod
    def from_content(
        cls, path: Path, content: Mapping[str, Any], mode: Mode, state_mode: Mode | None = None
    ) -> "NormStats":
        """The normalisers that the content of a statistics file gives.

        `mode` is that of the actions, and of the state where `state_mode` is None. Statistics padded to the network's
        width, as openpi may write them, are cut to the dimensions that are not all zero. Warns of dimensions without
        spread. Raises ValueError naming `path` and the key that is missing, of another width than the others, not
        finite, or negative where it is a spread.
        """
        state = _normalizer(path, content, "state", STATE_DIM, state_mode or mode)
        return cls(state, _normalizer(path, content, "actions", ACTION_DIM, mode))


def _normalizer(path: Path, content: Mapping[str, Any], group: str, default_width: int, mode: Mode) -> Normalizer:
    if mode == "identity":
        width = _identity_width(content, group) or default_width
        return Normalizer(np.zeros(width), np.ones(width), mode)
    low_key, high_key = _KEYS[mode]
    low, high = (_vector(path, content, group, key) for key in (low_key, high_key))
    width = _robot_width(low, high)
    for key, vector in ((low_key, low), (high_key, high)):
        if len(vector) not in (width, PADDED_DIM):
            raise ValueError(f"{path}: norm_stats.{group}.{key} has shape {vector.shape}, expected ({width},)")
    low, high = low[:width], high[:width]
    spread = high if mode == "z_score" else high - low
    if (spread < 0).any():
        problem = "negative" if mode == "z_score" else f"below {low_key}"
        raise ValueError(f"{path}: norm_stats.{group}.{high_key} is {problem} in dimension {_dimensions(spread < 0)}")
    if (spread <= EPSILON).any():
        logger.warning(
            "%s: norm_stats.%s: no spread in dimension %s (%s): whatever differs there is divided by %g",
            path,
            group,
            _dimensions(spread <= EPSILON),
            f"{high_key} is 0" if mode == "z_score" else f"{low_key} is {high_key}",
            EPSILON,
        )
    return Normalizer(low, spread + EPSILON, mode)


def _robot_width(low: np.ndarray, high: np.ndarray) -> int:
    """How many of the dimensions are the robot's: all, but for the zeros at the end of padded statistics."""
    if len(high) != PADDED_DIM:
        return len(high)
    used = np.abs(high) > EPSILON
    if len(low) == PADDED_DIM:
        used |= np.abs(low) > EPSILON
    return int(np.flatnonzero(used).max(initial=0)) + 1


def _identity_width(content: Mapping[str, Any], group: str) -> int | None:
    """The width of the group's statistics, which identity does not need, if there are any."""
    node: Any = content
    for step in ("norm_stats", group):
        node = node.get(step) if isinstance(node, dict) else None
    vectors = node.values() if isinstance(node, dict) else ()
    widths = {len(vector) for vector in vectors if isinstance(vector, list) and 0 < len(vector) < PADDED_DIM}
    return widths.pop() if len(widths) == 1 else None


def _dimensions(chosen: np.ndarray) -> str:
    return ", ".join(map(str, np.flatnonzero(chosen)))


def _vector(path: Path, content: Mapping[str, Any], group: str, key: str) -> np.ndarray:
    """One statistic (D,) float64."""
    node: Any = content
    for step in ("norm_stats", group, key):
        if not isinstance(node, dict) or step not in node:
            raise ValueError(f"{path}: key norm_stats.{group}.{key} is missing")
        node = node[step]
    name = f"{path}: norm_stats.{group}.{key}"
    try:
        vector = np.asarray(node, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is not a list of numbers") from error
    if vector.ndim != 1 or not 0 < len(vector) <= PADDED_DIM:
        raise ValueError(f"{name} has shape {vector.shape}, expected (D,) with D up to {PADDED_DIM}")
    if not np.isfinite(vector).all():
        raise ValueError(f"{name} holds NaN or Inf")
    return vector
