"""The loss of PPO and its kin on the decisions of a batch: clipped policy gradient, entropy bonus, value loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ript.algos.losses.clipped_policy import Ratio, clipped_policy_loss, masked_mean
from ript.algos.losses.value import ValueLoss, value_loss
from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range, one_of
from ript.flow.decision import Score
from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Chain
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows
from ript.storage.windows import Window


class PPOTerms(NamedTuple):
    """Per decision (B,), not yet averaged; NaN where there is no such part."""

    total: Tensor
    """What is minimised."""
    policy: Tensor
    """Clipped policy loss."""
    entropy: Tensor
    """Mean entropy of a scored element."""
    approx_kl: Tensor
    clip_fraction: Tensor
    value: Tensor
    """Value loss."""
    value_clipped: Tensor
    """1 where the value moved further than the clip."""


@dataclass(frozen=True)
class ClippedLoss:
    """weight · (clipped policy loss - entropy_coef · entropy + value_coef · value loss) per decision.

    Args:
        ratio: of probabilities: `chunk`, `chunk_mean` or `token`; see `clipped_policy_loss`.
        clip_ratio_low, clip_ratio_high: how far it may move from 1.
        entropy_coef: weight of the entropy.
        value_coef: weight of the value loss, where there is a critic.
        value_clip: how far a value may move from the old one.
        huber_delta: where the value loss turns from a square to a line.
    """

    ratio: Ratio = "chunk"
    clip_ratio_low: float = 0.2
    clip_ratio_high: float = 0.2
    entropy_coef: float = 0.0
    value_coef: float = 1.0
    value_clip: float = 0.2
    huber_delta: float = 10.0

    def __post_init__(self) -> None:
        """Raises ValueError."""
        one_of("ratio", self.ratio, ("chunk", "chunk_mean", "token"))
        in_range("clip_ratio_low", self.clip_ratio_low, 0, 1)
        for key in ("clip_ratio_high", "entropy_coef", "value_coef", "value_clip"):
            in_range(key, getattr(self, key), 0)
        in_range("huber_delta", self.huber_delta, 1e-6)

    def terms(
        self, batch: Batch, score: Score, old_log_prob: Tensor, is_pad: Tensor, policy_coef: float = 1.0
    ) -> PPOTerms:
        """The loss of each decision, given its score by the weights of now; `old_log_prob` and `is_pad` as for
        `clipped_policy_loss`. `policy_coef` 0 teaches the critic alone."""
        windows, device = batch.windows, old_log_prob.device
        advantages = torch.tensor([window.advantage for window in windows], dtype=torch.float32, device=device)
        clipped = clipped_policy_loss(
            score.log_prob,
            old_log_prob,
            advantages,
            is_pad,
            ratio=self.ratio,
            clip_low=self.clip_ratio_low,
            clip_high=self.clip_ratio_high,
        )
        entropy = masked_mean(score.entropy, ~is_pad[..., None])
        total = policy_coef * (clipped.total - self.entropy_coef * entropy)
        value = value_clipped = torch.full_like(total, torch.nan)
        if score.value is not None and not all(np.isnan(window.returns) for window in windows):
            found = self._value_loss(windows, score.value)
            value, value_clipped = found.total, found.is_clipped
            total = total + self.value_coef * value
        weight = torch.from_numpy(batch.weight).to(total)
        return PPOTerms(
            weight * total, clipped.total, entropy, clipped.approx_kl, clipped.clip_fraction, value, value_clipped
        )

    def _value_loss(self, windows: Sequence[Window], values: Tensor) -> ValueLoss:
        old, returns = (
            torch.tensor(numbers, dtype=values.dtype, device=values.device)
            for numbers in ([w.decision.value for w in windows if w.decision], [w.returns for w in windows])
        )
        return value_loss(values, old, returns, clip=self.value_clip, huber_delta=self.huber_delta)


@dataclass(frozen=True)
class PPOLoss(ClippedLoss):
    """The clipped loss of random denoising steps."""

    def __call__(
        self,
        policy: PI0_OFT_Policy,
        batch: Batch,
        seed: tuple[int, ...],
        encode: Callable[[Sequence[Window]], EncodedObservation] | None = None,
        *,
        sampler: GaussianSteps,
        policy_coef: float = 1.0,
    ) -> PPOTerms:
        """The loss of each decision. `sampler` is the one that acted; nothing is drawn, so `seed` is not used.

        `policy_coef` as for `terms`. `encode` gives the prefixes, if not the policy itself.
        """
        windows, device = batch.windows, policy.device
        encoded = encode_windows(policy, windows) if encode is None else encode(windows)
        chain = stack_chains(windows, device)
        score = policy.score(encoded, chain, sampler)
        is_pad = torch.from_numpy(np.stack([window.action_is_pad for window in windows])).to(device)
        return self.terms(batch, score, chain.log_prob, is_pad, policy_coef)


def stack_chains(windows: Sequence[Window], device: torch.device) -> Chain:
    """The chains of decided windows as one batch. Raises ValueError for a window whose decision was not random."""
    decisions = [window.decision for window in windows]
    points = [decision.points for decision in decisions if decision is not None and decision.points is not None]
    log_probs = [decision.log_prob for decision in decisions if decision is not None and decision.log_prob is not None]
    if len(points) != len(windows) or len(log_probs) != len(windows):
        raise ValueError("a decision without a chain has no log-probability: rollouts need a random sampler")
    steps = torch.tensor([decision.step for decision in decisions if decision is not None])
    return Chain(
        torch.from_numpy(np.stack(points)).to(device),
        steps.to(device),
        torch.from_numpy(np.stack(log_probs)).to(device),
    )
