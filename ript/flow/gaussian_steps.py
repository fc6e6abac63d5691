"""Denoising in Gaussian steps, so that actions have a log-probability.

t = 1 is noise, t = 0 is data, δ = 1/N; the velocity v at (x, t) predicts the data x - t·v and the noise x + (1-t)·v.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.distributions import Normal

from ript.checks import whole_number
from ript.flow.samplers import Chain, Flow, VelocityFn


@dataclass(frozen=True, kw_only=True)
class GaussianSteps(ABC):
    """Of N denoising steps one, drawn for each row, or all are random; the others are Euler steps.

    Sampling and scoring share their arithmetic: with the same velocities, the log-probability of a chain is the one
    stored in it, bit for bit. A network gives the same velocities for the same batch; in a batch of another size it
    may add in another order.
    """

    action_dim: int
    """A, the first dimensions of x, which are scored; those beyond are padding."""
    num_steps: int = 10
    """Denoising steps N."""
    joint_logprob: bool = False
    """All steps are random, and the log-probability is the mean over them and the initial noise."""
    ignore_last: bool = False
    """The step that ends at the data is never random."""
    one_step_per_batch: bool = False
    """All rows have the random step of the first one."""

    def __post_init__(self) -> None:
        """Raises ValueError when no step could be random."""
        whole_number("action_dim", self.action_dim, 1)
        whole_number("num_steps", self.num_steps, 2 if self.ignore_last else 1)

    @property
    def random_steps(self) -> int:
        """How many steps, from the first on, may be random."""
        return self.num_steps - self.ignore_last

    def time(self, step: int) -> float:
        """The time at which a step starts: 1, 1 - δ, …, δ, and 0 after the last."""
        return 1 - step / self.num_steps

    @abstractmethod
    def gaussian(self, flow: Flow, x: Tensor, step: Tensor) -> Normal:
        """Where random step number `step` (B,) leads from x (B, H, D), given the prediction there."""

    @torch.no_grad()
    def sample(self, flow: VelocityFn, noise: Tensor, generators: Sequence[Generator] = ()) -> tuple[Tensor, Chain]:
        """Noise (B, H, D) → actions (B, H, D) and their chain.

        `generators` holds one CPU generator per row, which gives the row its random step and the noise of it. Raises
        ValueError when their number is another.
        """
        step, draws = self._draw(noise, generators)
        x, points, terms = noise, [noise], []
        for number in range(self.num_steps):
            prediction, gaussian = self._predict(flow, x, torch.full_like(step, number))
            euler = x - prediction.velocity / self.num_steps
            jump = gaussian.mean + gaussian.stddev * draws[:, number if self.joint_logprob else 0]
            is_random = (step == number) | (step < 0) & (number < self.random_steps)
            x = torch.where(is_random[:, None, None], jump, euler)
            points.append(x)
            terms.append(self._terms(gaussian, x))
        scored = self._mean_with_noise(noise, terms) if self.joint_logprob else _rows(torch.stack(terms, dim=1), step)
        return x, Chain(torch.stack(points, dim=1), step, scored[:, 0])

    def log_prob(self, flow: VelocityFn, chain: Chain) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy (B, H, A) of the chain's random steps: one call of `flow`, or N when joint.

        Raises ValueError for a chain of another number of steps, or of the other kind.
        """
        self._check(chain)
        if self.joint_logprob:
            terms = [
                self._score(flow, chain.x[:, number], chain.x[:, number + 1], torch.full_like(chain.step, number))
                for number in range(self.random_steps)
            ]
            scored = self._mean_with_noise(chain.x[:, 0], terms)
        else:
            scored = self._score(flow, _rows(chain.x, chain.step), _rows(chain.x, chain.step + 1), chain.step)
        return scored[:, 0], scored[:, 1]

    def _draw(self, noise: Tensor, generators: Sequence[Generator]) -> tuple[Tensor, Tensor]:
        """Each row's random step (B,), -1 when joint, and standard normal numbers (B, 1 or N, H, D)."""
        if len(generators) != len(noise):
            raise ValueError(f"{len(noise)} rows need a generator each, got {len(generators)}")
        count = self.num_steps if self.joint_logprob else 1
        steps, draws = [], []
        for generator in generators:
            steps.append(torch.randint(self.random_steps, (), generator=generator))
            draws.append(torch.randn(count, *noise.shape[1:], generator=generator))
        step = torch.full((len(noise),), -1) if self.joint_logprob else torch.stack(steps)
        if self.one_step_per_batch:
            step = step[:1].expand(len(noise))
        return step.to(noise.device), torch.stack(draws).to(noise)

    def _predict(self, flow: VelocityFn, x: Tensor, step: Tensor) -> tuple[Flow, Normal]:
        prediction = flow(x, x.new_tensor([self.time(number) for number in range(self.num_steps)])[step])
        return prediction, self.gaussian(prediction, x, step)

    def _score(self, flow: VelocityFn, x: Tensor, reached: Tensor, step: Tensor) -> Tensor:
        return self._terms(self._predict(flow, x, step)[1], reached)

    def _terms(self, gaussian: Normal, reached: Tensor) -> Tensor:
        """Elementwise log-probability of `reached` (B, H, D), and entropy: (B, 2, H, A)."""
        entropy = gaussian.entropy().expand_as(reached)
        return torch.stack([gaussian.log_prob(reached), entropy], dim=1)[..., : self.action_dim]

    def _mean_with_noise(self, noise: Tensor, terms: Sequence[Tensor]) -> Tensor:
        """Mean of the random steps' terms and that of the initial noise, a constant: (B, 2, H, A)."""
        standard = Normal(torch.zeros_like(noise), torch.ones_like(noise), validate_args=False)
        return torch.stack([self._terms(standard, noise), *terms[: self.random_steps]]).mean(dim=0)

    def _check(self, chain: Chain) -> None:
        steps = chain.x.shape[1] - 1
        if steps != self.num_steps:
            raise ValueError(f"the chain has {steps} denoising steps, the sampler {self.num_steps}")
        if bool((chain.step < 0).any()) != self.joint_logprob:
            raise ValueError(f"the chain was not sampled with joint_logprob={self.joint_logprob}")


def _rows(stacked: Tensor, index: Tensor) -> Tensor:
    """Element `index` (B,) of each row of (B, N, …)."""
    return stacked[torch.arange(len(index), device=index.device), index]
