"""What the environment knows of a policy."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Generator, Tensor

from ript.flow.decision import Decision
from ript.models.pi0.norm_stats import NormStats


class PolicyCard(Protocol):
    """How a policy's weights are used."""

    @property
    def delta_actions(self) -> bool:
        """Actions are relative to the chunk's start state."""

    @property
    def cameras(self) -> Sequence[str]:
        """π0's names of the cameras that it looks through."""


class Policy(Protocol):
    """Whatever gives chunks of normalised actions for observations."""

    verbose: bool
    """Log each inference."""

    @property
    def chunk_size(self) -> int:
        """Actions H per chunk."""

    @property
    def open_loop(self) -> int:
        """How many of them are executed, unless the runner says otherwise."""

    @property
    def norm_stats(self) -> NormStats:
        """What its states and actions are normalised with."""

    @property
    def card(self) -> PolicyCard:
        """How its weights are used."""

    def act(
        self,
        observation: Mapping[str, Any],
        noise: Tensor,
        generators: Sequence[Generator] = (),
        *,
        cfg_scale: float = 1.0,
        is_positive: int | None = None,
    ) -> Decision:
        """A batch of observations → normalised chunks (B, H, A), and how they were decided.

        `noise` is (B, H, 32), `generators` one per observation for what else is random; `cfg_scale` 1 is the positive
        branch alone; `is_positive` 0 or 1 forces one branch.
        """
