"""The Gaussian steps in use: `sde` and `noise` (π_RL, arXiv 2510.25889) and `cps` (arXiv 2509.05952)."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor
from torch.distributions import Normal

from ript.checks import in_range
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Flow


@dataclass(frozen=True, kw_only=True)
class FixedNoise(GaussianSteps):
    """A mean of predicted data and predicted noise; weights and standard deviation depend on the step alone."""

    noise_level: float = 0.5
    """How much is random, above 0 and at most 1."""

    def __post_init__(self) -> None:
        """Raises ValueError for a level out of range."""
        super().__post_init__()
        in_range("noise_level", self.noise_level, 0, 1)
        if self.noise_level == 0:
            raise ValueError("noise_level=0 is not valid: nothing would be random; that is the ode sampler")

    @abstractmethod
    def coefficients(self, step: int) -> tuple[float, float, float]:
        """Weight of the predicted data, weight of the predicted noise, standard deviation."""

    def gaussian(self, flow: Flow, x: Tensor, step: Tensor) -> Normal:
        """See the class."""
        table = [(self.time(number), *self.coefficients(number)) for number in range(self.num_steps)]
        time, of_data, of_noise, std = x.new_tensor(table)[step].T[..., None, None]
        data, noise = x - time * flow.velocity, x + (1 - time) * flow.velocity
        return Normal(of_data * data + of_noise * noise, std, validate_args=False)


@dataclass(frozen=True, kw_only=True)
class Sde(FixedNoise):
    """The stochastic differential equation that has the flow's marginals, in the limit of many steps.

    σ = noise_level·sqrt(t / (1 - t)), at t = 1 with the next time in the denominator; the weight of the data is
    1 - (t - δ), that of the noise t - δ - σ²δ/(2t), the standard deviation sqrt(δ)·σ, which is not 0 at the last step.
    """

    def sigma(self, step: int) -> float:
        """Diffusion σ at the start of a step."""
        return self.noise_level * math.sqrt(self.time(step) / (1 - self.time(max(step, 1))))

    def coefficients(self, step: int) -> tuple[float, float, float]:
        """See the class."""
        delta, sigma, left = 1 / self.num_steps, self.sigma(step), self.time(step + 1)
        return 1 - left, left - sigma**2 * delta / (2 * self.time(step)), math.sqrt(delta) * sigma


@dataclass(frozen=True, kw_only=True)
class Cps(FixedNoise):
    """Coefficient-preserving: a share of the noise that is left after the step is new, its amount is the flow's.

    The weight of the data is 1 - (t - δ), that of the noise (t - δ)·cos(πη/2), the standard deviation
    (t - δ)·sin(πη/2), with η the noise level. No noise is left after the last step, which is therefore never random.
    """

    ignore_last: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for `ignore_last=False`."""
        if not self.ignore_last:
            raise ValueError("ignore_last=False is not valid with cps: its last step has no noise")
        super().__post_init__()

    def coefficients(self, step: int) -> tuple[float, float, float]:
        """See the class."""
        left, angle = self.time(step + 1), math.pi * self.noise_level / 2
        return 1 - left, left * math.cos(angle), left * math.sin(angle)


@dataclass(frozen=True, kw_only=True)
class Noise(GaussianSteps):
    """Euler steps with Gaussian noise around them, whose standard deviation is learned."""

    log_std: Callable[[Tensor], Tensor] = field(repr=False)
    """The flow's hidden output (B, H, width) → ln σ (B, H, D)."""
    joint_logprob: bool = True

    def gaussian(self, flow: Flow, x: Tensor, step: Tensor) -> Normal:
        """Raises ValueError when the flow hands out no hidden output, as a guided one."""
        if flow.hidden is None:
            raise ValueError("the noise sampler reads its std from the flow's hidden output, and this flow has none")
        return Normal(x - flow.velocity / self.num_steps, self.log_std(flow.hidden).exp(), validate_args=False)


def annealed_noise_level(iteration: int, start: float, end: float, iterations: int) -> float:
    """The noise level of an iteration: from `start` at 0 in a line to `end` at `iterations`, and `end` after that."""
    return start + (end - start) * min(iteration / iterations, 1.0)
