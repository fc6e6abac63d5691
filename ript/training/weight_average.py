"""An exponential moving average of the weights, to act, evaluate and save with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The moving average of some parameters: average ← d · average + (1 - d) · parameter after each gradient step.

    Args:
        decay: d.
        warm_up: d is min(decay, (1 + n) / (10 + n)) after n steps, so that a random start is soon forgotten.
    """

    def __init__(self, parameters: Sequence[torch.nn.Parameter], decay: float, warm_up: bool):
        self.parameters = list(parameters)
        self.decay, self.warm_up = decay, warm_up
        self.steps = 0
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the parameters as they are now."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay
        self.steps += 1
        get_ema_multi_avg_fn(decay)(self.average, [p.detach() for p in self.parameters], self.steps)

    def follow(self, optimizer: Optimizer) -> None:
        """Updates after each step of the optimizer."""
        optimizer.register_step_post_hook(lambda *_: self.update())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the parameters hold the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """The average, and the parameters themselves: a policy saved within `applied` does not hold them."""
        return {"steps": self.steps, "average": self.average, "raw": [p.detach().clone() for p in self.parameters]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores average and parameters."""
        self.steps = state["steps"]
        _copy(state["average"], self.average)
        _copy(state["raw"], self.parameters)

    def _swap(self) -> None:
        current = [parameter.detach().clone() for parameter in self.parameters]
        _copy(self.average, self.parameters)
        _copy(current, self.average)


@torch.no_grad()
def _copy(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    for new, old in zip(source, target, strict=True):
        old.copy_(new)
