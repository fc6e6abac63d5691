"""A policy that acts through a sampler of its own, as the runner sees it; and a random sampler's settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Generator, Tensor

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range, one_of
from ript.flow.decision import Decision
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Ode
from ript.flow.stochastic import Cps, Noise, Sde, annealed_noise_level
from ript.models.pi0.dims import ACTION_DIM
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.policy_card import PolicyCard

SAMPLERS = {"sde": Sde, "cps": Cps, "noise": Noise}
Sampler = Ode | GaussianSteps


@dataclass(frozen=True)
class Exploration:
    """How a policy's denoising steps are random while it collects; evaluation never is.

    Args:
        sampler: `sde`, `cps` or `noise`.
        num_denoise_steps: N.
        noise_level: of `sde` and `cps`.
        noise_anneal: `[level, iterations]`: from `noise_level` in a line to this level; None keeps it.
        joint_logprob: all denoising steps are random and scored, not one drawn per decision; None is true for `noise`.
        ignore_last: the last denoising step is never random; None is true for `cps`, whose last step has no noise.
        one_step_per_batch: all decisions of a batch have the same random step.
    """

    sampler: Literal["sde", "cps", "noise"] = "sde"
    num_denoise_steps: int = 10
    noise_level: float = 0.5
    noise_anneal: Sequence[float] | None = None
    joint_logprob: bool | None = None
    ignore_last: bool | None = None
    one_step_per_batch: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        one_of("sampler", self.sampler, tuple(SAMPLERS))
        for key in ("joint_logprob", "ignore_last"):
            one_of(key, getattr(self, key), (None, True, False))
        if self.noise_anneal is not None:
            self._check_annealing(self.noise_anneal)
        if self.sampler != "noise":
            self._fixed(self.noise_level, ACTION_DIM)  # refuses what no sampler takes

    def at(self, iteration: int, policy: PI0_OFT_Policy) -> GaussianSteps:
        """The sampler of an iteration. Raises ValueError when the policy lacks the head that `noise` needs."""
        if self.sampler == "noise":
            if policy.heads.log_std is None:
                raise ValueError("sampler=noise needs a policy with the head of its standard deviation")
            return Noise(log_std=policy.heads.log_std, **self._steps(policy.action_dim))
        if self.noise_anneal is None:
            return self._fixed(self.noise_level, policy.action_dim)
        end, iterations = self.noise_anneal
        return self._fixed(annealed_noise_level(iteration, self.noise_level, end, int(iterations)), policy.action_dim)

    def _fixed(self, noise_level: float, action_dim: int) -> GaussianSteps:
        return {"sde": Sde, "cps": Cps}[self.sampler](noise_level=noise_level, **self._steps(action_dim))

    def _steps(self, action_dim: int) -> dict[str, Any]:
        chosen = {"joint_logprob": self.joint_logprob, "ignore_last": self.ignore_last}
        return {
            "action_dim": action_dim,
            "num_steps": self.num_denoise_steps,
            "one_step_per_batch": self.one_step_per_batch,
            **{key: value for key, value in chosen.items() if value is not None},
        }

    def _check_annealing(self, noise_anneal: Sequence[float]) -> None:
        if self.sampler == "noise":
            raise ValueError("noise_anneal is not valid with sampler=noise, whose standard deviation is learned")
        if len(noise_anneal) != 2:
            raise ValueError(f"noise_anneal={list(noise_anneal)} is not valid: must be [level, iterations]")
        in_range("noise_anneal level", noise_anneal[0], 1e-6, 1)
        in_range("noise_anneal iterations", noise_anneal[1], 1)


@dataclass
class Actor:
    """A `ript.env_runner.policy.Policy`: the policy's weights, the sampler's steps."""

    policy: PI0_OFT_Policy
    sampler: Sampler
    verbose: bool = False

    @property
    def chunk_size(self) -> int:
        """The policy's."""
        return self.policy.chunk_size

    @property
    def open_loop(self) -> int:
        """The policy's."""
        return self.policy.open_loop

    @property
    def norm_stats(self) -> NormStats:
        """The policy's."""
        return self.policy.norm_stats

    @property
    def card(self) -> PolicyCard:
        """The policy's."""
        return self.policy.card

    def act(
        self,
        observation: Mapping[str, Any],
        noise: Tensor,
        generators: Sequence[Generator] = (),
        *,
        cfg_scale: float = 1.0,
        is_positive: int | None = None,
    ) -> Decision:
        """As `PI0_OFT_Policy.act`. Raises ValueError for guidance of a random sampler: its actions would have no
        log-probability."""
        if isinstance(self.sampler, GaussianSteps) and (cfg_scale != 1.0 or is_positive is not None):
            raise ValueError(
                f"cfg_scale={cfg_scale}, is_positive={is_positive}: a random sampler acts without guidance"
            )
        return self.policy.act(observation, noise, generators, self.sampler, cfg_scale, is_positive)


def sampler_of(actor: Any) -> tuple[Sampler | None, PI0_OFT_Policy]:
    """What `acting_with` needs to make an actor like this one of another copy of its policy: a sampler without weights,
    None for the policy itself; and the policy."""
    if not isinstance(actor, Actor):
        return None, actor
    return _with_log_std(actor.sampler, None), actor.policy


def acting_with(policy: PI0_OFT_Policy, sampler: Sampler | None) -> PI0_OFT_Policy | Actor:
    """The policy with what `sampler_of` gave of an actor."""
    return policy if sampler is None else Actor(policy, _with_log_std(sampler, policy.heads.log_std))


def _with_log_std(sampler: Sampler, log_std: Any) -> Sampler:
    return replace(sampler, log_std=log_std) if isinstance(sampler, Noise) else sampler
