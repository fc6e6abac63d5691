"""Normalisation statistics of state and actions, in openpi's file format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ript.json_files import read_json
from ript.models.pi0.dims import ACTION_DIM, PADDED_DIM, STATE_DIM

EPSILON = 1e-6

Mode = Literal["z_score", "quantile"]
_BOUNDS: dict[str, float] = {"z_score": 5.0, "quantile": 2.0}
_KEYS: dict[str, tuple[str, str]] = {"z_score": ("mean", "std"), "quantile": ("q01", "q99")}


@dataclass(frozen=True)
class Normalizer:
    """An invertible affine map of the last axis: z-score (x-mean)/(std+ε) or quantile (x-q01)/(q99-q01+ε)·2-1."""

    offset: np.ndarray
    """mean or q01, (D,) float64."""
    scale: np.ndarray
    """std + ε or (q99 - q01 + ε), (D,) float64."""
    mode: Mode

    @property
    def bound(self) -> float:
        """Data of these statistics hardly ever lie beyond ±this: 5 standard deviations, about 2 if q01, q99 are ±1."""
        return _BOUNDS[self.mode]

    def normalize(self, raw: np.ndarray) -> np.ndarray:
        """Raw (…, D) → normalised (…, D) float32."""
        ratio = (np.asarray(raw, np.float64) - self.offset) / self.scale
        return (ratio if self.mode == "z_score" else ratio * 2 - 1).astype(np.float32)

    def unnormalize(self, normalized: np.ndarray) -> np.ndarray:
        """Normalised (…, D) → raw (…, D) float64; the inverse of `normalize`."""
        ratio = np.asarray(normalized, np.float64)
        return (ratio if self.mode == "z_score" else (ratio + 1) / 2) * self.scale + self.offset


@dataclass(frozen=True)
class NormStats:
    """The normalisers of one robot: `state` (8) and `actions` (7)."""

    state: Normalizer
    actions: Normalizer

    @classmethod
    def load(cls, path: str | Path, mode: Mode = "z_score") -> "NormStats":
        """Reads `{"norm_stats": {"state": {…}, "actions": {…}}}`.

        Raises FileNotFoundError, or ValueError naming the file and the key that is missing, of the wrong width, not
        finite, or without spread.
        """
        path = Path(path)
        content = read_json(path, "norm stats")
        state = _normalizer(path, content, "state", STATE_DIM, mode)
        return cls(state, _normalizer(path, content, "actions", ACTION_DIM, mode))


def find_norm_stats(folder: Path) -> Path:
    """The stats inside a checkpoint folder: `norm_stats.json`, or openpi's `assets/<owner>/<name>/norm_stats.json`."""
    candidates = [folder / "norm_stats.json", *sorted(folder.glob("assets/**/norm_stats.json"))]
    found = [path for path in candidates if path.is_file()]
    if not found:
        raise FileNotFoundError(f"no norm_stats.json in {folder} or below {folder / 'assets'}; set norm_stats_path")
    if len(found) > 1:
        raise ValueError(f"several norm stats in {folder}, set norm_stats_path to one of: {', '.join(map(str, found))}")
    return found[0]


def _normalizer(path: Path, content: Any, group: str, width: int, mode: Mode) -> Normalizer:
    low, high = (_vector(path, content, group, key, width) for key in _KEYS[mode])
    spread = high if mode == "z_score" else high - low
    if (spread <= 0).any():
        name = f"norm_stats.{group}.{_KEYS[mode][1]}"
        problem = "must be positive" if mode == "z_score" else "must be above q01"
        raise ValueError(f"{path}: {name} {problem} in every dimension, got {spread.tolist()}")
    return Normalizer(low, spread + EPSILON, mode)


def _vector(path: Path, content: Any, group: str, key: str, width: int) -> np.ndarray:
    node = content
    for step in ("norm_stats", group, key):
        if not isinstance(node, dict) or step not in node:
            raise ValueError(f"{path}: key norm_stats.{group}.{key} is missing")
        node = node[step]
    name = f"{path}: norm_stats.{group}.{key}"
    try:
        vector = np.asarray(node, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not a list of numbers") from error
    if vector.shape not in ((width,), (PADDED_DIM,)):
        raise ValueError(f"{name} has shape {vector.shape}, expected ({width},) or ({PADDED_DIM},)")
    if not np.isfinite(vector[:width]).all():
        raise ValueError(f"{name} holds NaN or Inf")
    return vector[:width]
