"""Statistics of features, with the keys of `meta/stats.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ript.json_files import read_json

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_STATISTICS_OF_IMAGES = 100
"""Images of an episode, evenly spaced, that its statistics are of."""


def summarize_numbers(rows: np.ndarray) -> dict[str, Any]:
    """Statistics of each column of (N, D) numbers."""
    rows = np.asarray(rows, np.float64)
    found = {"min": rows.min(0), "max": rows.max(0), "mean": rows.mean(0), "std": rows.std(0)}
    found |= {name: np.quantile(rows, share, axis=0) for name, share in QUANTILES.items()}
    return {name: values.tolist() for name, values in found.items()} | {"count": [len(rows)]}


def sampled(count: int) -> set[int]:
    """Which of an episode's images are looked at."""
    return set(np.linspace(0, count - 1, min(count, _STATISTICS_OF_IMAGES)).round().astype(int).tolist())


def histogram(image: np.ndarray) -> np.ndarray:
    """How many pixels of a (H, W, 3) uint8 image have each value, (3, 256)."""
    return np.stack([np.bincount(image[:, :, channel].ravel(), minlength=256) for channel in range(3)])


def summarize_pixels(counts: np.ndarray, images: int) -> dict[str, Any]:
    """Statistics of each channel, in 0..1 and of shape (3, 1, 1), from a sum of histograms (3, 256)."""
    values, share = np.arange(256) / 255, counts / counts.sum(1, keepdims=True)
    mean = share @ values
    reached = share.cumsum(1)
    found = {
        "min": values[(counts > 0).argmax(1)],
        "max": values[255 - (counts[:, ::-1] > 0).argmax(1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(share @ values**2 - mean**2, 0)),
    }
    found |= {name: values[(reached >= quantile).argmax(1)] for name, quantile in QUANTILES.items()}
    return {name: row.reshape(3, 1, 1).tolist() for name, row in found.items()} | {"count": [images]}


def read_statistics(root: Path, features: Iterable[str], keys: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
    """Feature → statistics from `meta/stats.json`. Raises FileNotFoundError, or ValueError naming the missing key."""
    path = root / "meta" / "stats.json"
    content = read_json(path, "statistics of the dataset")
    for feature in features:
        for key in keys:
            if key not in content.get(feature, {}):
                raise ValueError(f"{path}: key {feature}.{key} is missing; compute the statistics instead")
    return content
