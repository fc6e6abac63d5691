"""From noise to actions along a velocity: what a sampler is, and the Euler steps that every evaluation takes.

A sampler knows a velocity callable and nothing of networks; guidance lives inside the callable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Generator, Tensor

from ript.checks import whole_number


class Flow(NamedTuple):
    """What a network predicts at one point of the path."""

    velocity: Tensor
    """(B, H, D)."""
    hidden: Tensor | None = None
    """(B, H, width), the features that the velocity was read from, for heads beside it."""


VelocityFn = Callable[[Tensor, Tensor], Flow]
"""x (B, H, D) and time t (B,) → Flow."""


class Chain(NamedTuple):
    """How a sampler came from noise to actions: all it takes to score that way again."""

    x: Tensor
    """(B, N+1, H, D): the noise, then the point after each of the N denoising steps."""
    step: Tensor
    """(B,) int64, the denoising step that was random and is scored; -1 where all were."""
    log_prob: Tensor
    """(B, H, A), elementwise log-probability under the policy that acted, over the action dimensions."""


class Sampler(Protocol):
    """Noise → actions, and how likely that way was."""

    def sample(
        self, flow: VelocityFn, noise: Tensor, generators: Sequence[Generator] = ()
    ) -> tuple[Tensor, Chain | None]:
        """Noise (B, H, D) → actions (B, H, D), and the chain if the steps were random.

        `generators` holds one CPU generator per row: a row's random numbers depend on no other row.
        """

    def log_prob(self, flow: VelocityFn, chain: Chain) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy (B, H, A) of the chain's scored steps, with gradients."""


@dataclass(frozen=True)
class Ode:
    """Euler steps x ← x - v/N from t = 1 (noise) down to t = 0 (data)."""

    num_steps: int = 10
    """Denoising steps N."""
    keeps_ends: bool = False
    """Decisions keep the noise and the whole chunk that it became."""

    def __post_init__(self) -> None:
        """Raises ValueError unless there is a step."""
        whole_number("num_steps", self.num_steps, 1)

    @torch.no_grad()
    def sample(self, flow: VelocityFn, noise: Tensor, generators: Sequence[Generator] = ()) -> tuple[Tensor, None]:
        """Noise (B, H, D) → actions (B, H, D). Draws nothing and keeps no chain."""
        x = noise
        for step in range(self.num_steps):
            time = x.new_full(x.shape[:1], 1 - step / self.num_steps)
            x = x - flow(x, time).velocity / self.num_steps
        return x, None

    def log_prob(self, flow: VelocityFn, chain: Chain) -> tuple[Tensor, Tensor]:
        """Raises TypeError: Euler steps are not random."""
        raise TypeError("the ode sampler is not random, its actions have no log-probability. Valid: sde, noise, cps")
