"""A decision of the policy with all it takes to learn from it, and the same decision scored again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Chain, Flow, Ode, VelocityFn

ValueFn = Callable[[Tensor], Tensor]
"""The flow's hidden output (B, H, width) → values (B,)."""


class Latent(NamedTuple):
    """How the initial noise was decided, where it is learned."""

    features: Tensor
    """(B, F), what it was decided from."""
    noise: Tensor
    """(B, L, D): one row, which is repeated over the horizon, or all H."""
    log_prob: Tensor
    """(B, L, D), elementwise, under the actor that acted."""


class Decision(NamedTuple):
    """What a policy did for a batch of observations."""

    actions: Tensor
    """(B, H, D), normalised."""
    chain: Chain | None
    """How it came to them; None where nothing was random on the way."""
    value: Tensor | None
    """(B,), read at the denoising step that is scored, or the mean over all that are, or over all steps where none is
    random; None without critic."""
    ends: Tensor | None = None
    """(B, 2, H, D), the noise and the whole chunk that it became; of Euler steps only, and where they keep it."""
    latent: Latent | None = None
    """How the initial noise was decided; None where it is not learned."""


class Score(NamedTuple):
    """A decision seen by the weights of now, with gradients. With those that acted it is the same, bit for bit."""

    log_prob: Tensor
    """(B, H, A), elementwise."""
    entropy: Tensor
    """(B, H, A), elementwise."""
    value: Tensor | None
    """(B,); None without a critic."""


def decide(
    sampler: Ode | GaussianSteps,
    flow: VelocityFn,
    noise: Tensor,
    generators: Sequence[Generator],
    value_of: ValueFn | None = None,
) -> Decision:
    """Acts from noise (B, H, D); `generators` as for the sampler. The critic sees only velocities that are computed."""
    decision = _decide(sampler, flow, noise, generators, value_of)
    if isinstance(sampler, Ode) and sampler.keeps_ends:
        return decision._replace(ends=torch.stack([noise, decision.actions], dim=1))
    return decision


def _decide(
    sampler: Ode | GaussianSteps,
    flow: VelocityFn,
    noise: Tensor,
    generators: Sequence[Generator],
    value_of: ValueFn | None,
) -> Decision:
    if value_of is None:
        actions, chain = sampler.sample(flow, noise, generators)
        return Decision(actions, chain, None)
    watched = _Watched(flow, value_of)
    with torch.no_grad():
        actions, chain = sampler.sample(watched, noise, generators)
        values = torch.stack(watched.values)
        if isinstance(sampler, Ode) or chain is None:
            return Decision(actions, chain, values.mean(dim=0))
        if sampler.joint_logprob:
            return Decision(actions, chain, values[: sampler.random_steps].mean(dim=0))
        return Decision(actions, chain, values.gather(0, chain.step[None])[0])


def score(sampler: GaussianSteps, flow: VelocityFn, chain: Chain, value_of: ValueFn | None = None) -> Score:
    """The log-probability, entropy and value of a decision, given the flow of the same observations."""
    if value_of is None:
        return Score(*sampler.log_prob(flow, chain), None)
    watched = _Watched(flow, value_of)
    log_prob, entropy = sampler.log_prob(watched, chain)
    return Score(log_prob, entropy, torch.stack(watched.values).mean(dim=0))


class _Watched:
    """A flow whose hidden outputs a critic reads on the way."""

    def __init__(self, flow: VelocityFn, value_of: ValueFn):
        self._flow, self._value_of = flow, value_of
        self.values: list[Tensor] = []
        """(B,) for each call."""

    def __call__(self, x: Tensor, time: Tensor) -> Flow:
        prediction = self._flow(x, time)
        if prediction.hidden is None:
            raise ValueError("a critic reads the flow's hidden output, and this flow has none")
        self.values.append(self._value_of(prediction.hidden))
        return prediction
