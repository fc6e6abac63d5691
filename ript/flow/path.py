"""The flow-matching path of π0: t = 1 is noise, t = 0 is data (arXiv 2410.24164, eq. 1; openpi's time)."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


class PathSample(NamedTuple):
    """A point on the path from data to noise."""

    x_t: Tensor
    """t·ε + (1-t)·a, shape (B, H, D)."""
    u_t: Tensor
    """Target velocity ε - a, shape (B, H, D)."""


def path_sample(actions: Tensor, noise: Tensor, time: Tensor) -> PathSample:
    """The point at `time` (B,) between `actions` (t = 0) and `noise` (t = 1), both (B, H, D)."""
    if actions.shape != noise.shape or time.shape != actions.shape[:1]:
        raise ValueError(f"shapes differ: actions {actions.shape}, noise {noise.shape}, time {time.shape}")
    t = time[:, None, None]
    return PathSample(t * noise + (1 - t) * actions, noise - actions)


def sample_time(count: int, generator: Generator | None = None) -> Tensor:
    """(count,) times in (0, 1], Beta(1.5, 1)·0.999 + 0.001.

    Beta(a, 1) has the distribution function t^a, so it is drawn by inversion: one uniform number per sample, which a
    generator can repeat.
    """
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    return (uniform ** (1 / 1.5) * 0.999 + 0.001).float()
