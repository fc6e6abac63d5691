"""The reflow loss: flow matching towards what was sampled, from the noise of that sample (arXiv 2209.03003)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ript.algos.losses.flow_matching import masked_flow_loss
from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.flow.path import path_sample, sample_time
from ript.models.pi0.conditioning import POSITIVE
from ript.seeds import Word, entropy, torch_generator
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows
from ript.storage.windows import Window


class ReflowTerms(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    reflow: Tensor
    """The same, to report."""


def reflow_loss(
    policy: PI0_OFT_Policy,
    batch: Batch,
    seed: tuple[int, ...],
    encode: Callable[[Sequence[Window]], EncodedObservation] | None = None,
) -> ReflowTerms:
    """‖ε₀ - a - v(t·ε₀ + (1-t)·a, t)‖² of windows that all have a pair (ε₀, a), for the positive branch.

    The mean is over the whole chunk as it was sampled, executed or not, and the 7 real dimensions; the point on the
    path has all 32. `encode` as for `CFGFlowLoss`.
    """
    pairs = torch.from_numpy(np.stack([window.pair for window in batch.windows])).to(policy.device)  # type: ignore[misc]
    noise, actions = pairs.unbind(dim=1)
    time = draw_times(batch, seed).to(policy.device)
    x_t, u_t = path_sample(actions, noise, time)
    encoded = encode_windows(policy, batch.windows) if encode is None else encode(batch.windows)
    condition = torch.full(time.shape, POSITIVE, device=policy.device)
    velocity = policy.model.velocity(encoded.prefix, encoded.state, x_t, time, condition)
    is_pad = torch.zeros(velocity.shape[:2], dtype=torch.bool, device=policy.device)
    found = masked_flow_loss(velocity, u_t, is_pad, policy.action_dim)
    return ReflowTerms(found, found.detach())


def draw_times(batch: Batch, seed: tuple[int, ...]) -> Tensor:
    """Times (B,), each from its window's own seed."""
    rows = zip(batch.windows, batch.occurrence.tolist(), strict=True)
    seeds = [entropy(Word.REFLOW, *seed, window.episode_id, window.start, n) for window, n in rows]
    return torch.cat([sample_time(1, torch_generator(own)) for own in seeds])
