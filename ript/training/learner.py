"""The learner: everything that changes the policy's weights, in one place, which saves and restores it."""

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range, whole_number
from ript.distributed import Distributed
from ript.sharding import shared_out_optimizer, whole, whole_state
from ript.storage.batch import Batch
from ript.storage.windows import Window
from ript.training.schedule import Schedule
from ript.training.weight_average import WeightAverage, copy_tensors

logger = logging.getLogger(__name__)

Seed = tuple[int, ...]


MOST_SKIPPED = 3
"""So many gradient steps in a row may be skipped because their gradient is not finite; one more ends the run."""


class NotFiniteGradient(RuntimeError):
    """Gradient after gradient is NaN or Inf; nothing was stepped."""

    def __init__(self, message: str, windows: Sequence[Window]) -> None:
        super().__init__(message)
        self.windows = windows
        """Of this rank, in the last of these steps."""


class LossTerms(Protocol):
    """Losses of a batch of windows, each (B,): a NamedTuple whose other fields are parts to report, NaN if absent."""

    @property
    def total(self) -> Tensor:
        """What is minimised."""

    def _asdict(self) -> dict[str, Any]: ...


LossFn = Callable[[PI0_OFT_Policy, Batch, Seed], LossTerms]
"""A loss of each window. The seed fixes its random numbers: the same for a window in any micro-batch, on any rank."""
Term = tuple[LossFn, Batch, float]
"""A loss, this rank's share of its batch, and its weight in the sum; weight 0 adds no term at all."""


class Learner:
    """Gradient accumulation, sum over ranks, clipping per parameter group, step, average of the weights.

    Args:
        policy: whose weights are trained; its `trainable_params` are the groups.
        optimizers: group → its optimizer.
        schedule: learning rates; None leaves those of the optimizers.
        average: moving average of the weights, which acts, is evaluated and saved; None: the weights themselves.
        optimizer_batch_size: windows per forward pass; bounds memory and changes nothing else.
        gradient_clip: largest norm of each group's gradient.
    """

    iteration: int
    """Iterations done."""
    skipped: int
    """Gradient steps that were skipped since the last that was not."""

    def __init__(
        self,
        policy: PI0_OFT_Policy,
        optimizers: Mapping[str, Optimizer],
        *,
        schedule: Schedule | None = None,
        average: WeightAverage | None = None,
        optimizer_batch_size: int = 8,
        gradient_clip: float = 1.0,
        distributed: Distributed | None = None,
    ):
        whole_number("optimizer_batch_size", optimizer_batch_size, 1)
        in_range("gradient_clip", gradient_clip, 1e-6)
        self.policy, self.optimizers = policy, optimizers
        self.schedule, self.average = schedule, average
        self.optimizer_batch_size, self.gradient_clip = optimizer_batch_size, gradient_clip
        self.distributed = distributed or Distributed()
        self.iteration, self.skipped = 0, 0
        self._set_rates()

    @classmethod
    def of(cls, policy: PI0_OFT_Policy, optimizers: "Learner | Mapping[str, Optimizer]") -> "Learner":
        """The learner itself, or one around RIPT's mapping of torch optimizers, with default clipping."""
        return optimizers if isinstance(optimizers, Learner) else cls(policy, optimizers)

    def step(self, terms: Sequence[Term], seed: Seed, groups: Sequence[str] | None = None) -> dict[str, float]:
        """One gradient step on Σ weight · mean loss over the windows of all ranks. A collective.

        `groups` are the parameter groups that are stepped, None: all. Returns this rank's sums of losses, where `total`
        is the first term's, and the gradient norms and what clipping kept of them (a share), which are of all ranks. A
        step whose gradient is not finite is skipped: weights, optimizers and average stay as they were, and
        `{"skipped": 1}` is all that is returned. Raises NotFiniteGradient after more than `MOST_SKIPPED` in a row.
        """
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = defaultdict(float)
        for number, (loss, batch, weight) in enumerate(terms):
            if weight:
                own: dict[str, float] = defaultdict(float)
                self.accumulate(loss, batch, weight, seed, own)
                sums |= {name: value for name, value in own.items() if not (number and name.startswith("total_"))}
        groups = list(self.optimizers) if groups is None else groups
        norms = self._clip(groups)
        if not all(math.isfinite(norm) for norm in norms.values()):
            return self._skip(terms)
        self.skipped = 0
        for group, norm in norms.items():
            sums[f"gradient_norm_{group}"] = norm
            sums[f"gradient_kept_{group}"] = self.gradient_clip / max(norm, self.gradient_clip)
        for group in groups:
            self.optimizers[group].step()
        if self.average is not None:
            self.average.update()
        return sums

    def _clip(self, groups: Sequence[str]) -> dict[str, float]:
        """Adds up the gradients of all ranks and clips each group. Returns the norms before. A collective."""
        norms = {}
        for group in groups:
            parameters = self.policy.trainable_params[group]
            self.distributed.sum_gradients(parameters)
            norms[group] = float(whole(torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip)))
        return norms

    def _skip(self, terms: Sequence[Term]) -> dict[str, float]:
        self.skipped += 1
        if self.skipped > MOST_SKIPPED:
            windows = [window for _, batch, weight in terms if weight for window in batch.windows]
            message = f"iteration {self.iteration + 1}: the gradient was not finite in {self.skipped} steps in a row"
            raise NotFiniteGradient(message, windows)
        logger.warning("iteration %d: the gradient is not finite, this step is skipped", self.iteration + 1)
        return {"skipped": 1.0}

    def accumulate(self, loss: LossFn, batch: Batch, weight: float, seed: Seed, sums: dict[str, float]) -> None:
        """Adds the gradient of weight · mean loss over the windows of all ranks, and this rank's losses to `sums`.

        Does not depend on `optimizer_batch_size`, nor on how the windows are spread over ranks.
        """
        counts = self.distributed.gather(len(batch))
        for part, is_own in self._passes(batch, counts):
            terms = loss(self.policy, part, seed)
            if terms.total.requires_grad:
                (is_own * weight * terms.total.sum() / sum(counts)).backward()
            for name, values in terms._asdict().items() if is_own else ():
                known = values.detach()[~values.isnan()]
                sums[f"{name}_sum"] += float(known.sum())
                sums[f"{name}_count"] += len(known)

    def _passes(self, batch: Batch, counts: Sequence[int]) -> Iterator[tuple[Batch, bool]]:
        """This rank's windows, pass by pass, and that they are its own.

        Sharded weights need every rank in every pass: one that has fewer goes on with a window of weight zero, another
        rank's if it has none. `counts` are the windows of each rank. A collective.
        """
        size = self.optimizer_batch_size
        parts = [batch[first : first + size] for first in range(0, len(batch), size)]
        missing = 0
        if self.policy.sharding is not None and any(counts):
            missing = math.ceil(max(counts) / size) - len(parts)
            spare = batch[:1] if all(counts) else next(b for b in self.distributed.gather(batch[:1]) if len(b))
        yield from ((part, True) for part in parts)
        yield from ((spare.weightless(), False) for _ in range(missing))

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Within the block, the policy has the weights that act: their average, if there is one. Each rank has all of
        them, and acts on its own. The beginning is a collective."""
        with nullcontext() if self.average is None else self.average.applied(), self.policy.gathered():
            yield

    def end_iteration(self) -> dict[str, float]:
        """Moves on to the next iteration's learning rates. Returns those of the one that ends, as `lr/<group>`."""
        rates = {f"lr/{group}": optimizer.param_groups[0]["lr"] for group, optimizer in self.optimizers.items()}
        self.iteration += 1
        self._set_rates()
        return rates

    def state_dict(self) -> dict[str, Any]:
        """Optimizers, average, place in the schedule, random state of every rank. A collective.

        Of sharded weights rank 0 has the whole state, and the others empty tensors in their places.
        """
        state = {
            "iteration": self.iteration,
            "skipped": self.skipped,
            "factor": self.schedule.factor(self.iteration) if self.schedule else 1.0,
            "optimizers": {group: optimizer.state_dict() for group, optimizer in self.optimizers.items()},
            "average": None if self.average is None else self.average.state_dict(),
            "random_states": self.distributed.gather(_random_state(self.distributed.device)),
        }
        return whole_state(state, is_kept=self.distributed.is_main)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state. Rates, betas and weight decay are those of this learner, not the saved ones.

        The policy must have been loaded from the same checkpoint. Raises ValueError when other parameters were trained.
        """
        self.iteration, self.skipped = state["iteration"], state.get("skipped", 0)
        for group, optimizer in self.optimizers.items():
            saved = shared_out_optimizer(state["optimizers"][group], self.policy.trainable_params[group])
            _load_optimizer(optimizer, saved, group)
        if self.schedule is not None:
            self.schedule.resume(self.iteration, state["factor"])
        self._set_rates()
        self._load_average(state["average"])
        random_states = state["random_states"]
        if len(random_states) == self.distributed.world_size:
            _set_random_state(random_states[self.distributed.rank], self.distributed.device)
        else:
            logger.warning("another number of processes than before: torch's random state starts anew")

    def _load_average(self, saved: Mapping[str, Any] | None) -> None:
        if saved is not None and saved["average"] is None:
            # Of a checkpoint that saved the trained weights in place of their average: the policy is the average.
            everything = [p for group in self.policy.trainable_params.values() for p in group]
            saved = {**saved, "average": [p.detach().clone() for p in everything]}
        if self.average is not None and saved is not None:
            self.average.load_state_dict(saved)
        elif self.average is not None:
            copy_tensors([p.detach() for p in self.average.parameters], self.average.average)
            logger.info("algo.ema_decay is new: the average of the weights starts from the checkpoint's weights")
        elif saved is not None:
            parameters = [p for group in self.policy.trainable_params.values() for p in group]
            copy_tensors(saved["raw"], parameters)
            logger.info("algo.ema_decay is off now: the trained weights go on, their average is dropped")

    def _set_rates(self) -> None:
        if self.schedule is None:
            return
        factor = self.schedule.factor(self.iteration)
        for group, optimizer in self.optimizers.items():
            for entry in optimizer.param_groups:
                entry["lr"] = self.schedule.rates[group] * factor


def _load_optimizer(optimizer: Optimizer, saved: dict[str, Any], group: str) -> None:
    """Restores the moments, and leaves rates and other settings as they are now."""
    settings = [{key: value for key, value in entry.items() if key != "params"} for entry in optimizer.param_groups]
    try:
        optimizer.load_state_dict(saved)
    except ValueError as error:
        raise ValueError(f"the checkpoint trained other parameters in the group {group}: {error}") from error
    for entry, now in zip(optimizer.param_groups, settings, strict=True):
        entry.update(now)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Torch's random state on the CPU and, with CUDA, on this process's device."""
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
