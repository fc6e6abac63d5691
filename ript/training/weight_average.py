"""An exponential moving average of the weights, to act, evaluate and save with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ript.sharding import shared_out_as


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
        self._applied = False

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the parameters as they are now."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps)) if self.warm_up else self.decay
        self.steps += 1
        get_ema_multi_avg_fn(decay)(self.average, [p.detach() for p in self.parameters], self.steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, the parameters hold the average; blocks may lie in one another."""
        if self._applied:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Any]:
        """Copies of the average and of the parameters themselves: a policy saved within `applied` holds only the
        average. The same within `applied` and outside."""
        parameters, average = [p.detach().clone() for p in self.parameters], [a.clone() for a in self.average]
        if self._applied:
            parameters, average = average, parameters
        return {"steps": self.steps, "average": average, "raw": parameters}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores average and parameters."""
        self.steps = state["steps"]
        copy_tensors(state["average"], self.average)
        copy_tensors(state["raw"], self.parameters)

    def _swap(self) -> None:
        current = [parameter.detach().clone() for parameter in self.parameters]
        copy_tensors(self.average, self.parameters)
        copy_tensors(current, self.average)
        self._applied = not self._applied


@torch.no_grad()
def copy_tensors(source: Sequence[Tensor], target: Sequence[Tensor]) -> None:
    """Copies each tensor onto its counterpart, in place; whole ones onto sharded ones too.

    Raises ValueError when their numbers or shapes differ.
    """
    if [tuple(tensor.shape) for tensor in source] != [tuple(tensor.shape) for tensor in target]:
        raise ValueError(f"{len(source)} saved tensors do not fit {len(target)} trainable ones in number or shape")
    for new, old in zip(source, target, strict=True):
        old.copy_(shared_out_as(new, old))
