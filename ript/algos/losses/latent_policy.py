"""The loss of DSRL: PPO's, on the log-probability of the initial noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ript.algos.losses.ppo import ClippedLoss, PPOTerms
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.storage.batch import Batch
from ript.storage.windows import Window


@dataclass(frozen=True)
class LatentPolicyLoss(ClippedLoss):
    """The clipped loss of the decided noise, all of it, whatever was executed of the chunk.

    Features were recorded with each decision, so no image is encoded, and the network is not called.
    """

    def __call__(
        self,
        policy: PI0_OFT_Policy,
        batch: Batch,
        seed: tuple[int, ...],
        encode: Callable[[Sequence[Window]], Any] | None = None,
        *,
        policy_coef: float = 1.0,
    ) -> PPOTerms:
        """The loss of each decision; nothing is drawn or encoded. Raises ValueError for one without a latent."""
        features, noise, old_log_prob = (
            _stack([getattr(window.decision, name, None) for window in batch.windows], policy.device)
            for name in ("features", "latent", "log_prob")
        )
        is_pad = torch.zeros(noise.shape[:2], dtype=torch.bool, device=policy.device)
        return self.terms(batch, policy.score_latent(features, noise), old_log_prob, is_pad, policy_coef)


def _stack(arrays: Sequence[np.ndarray | None], device: torch.device) -> Tensor:
    known = [array for array in arrays if array is not None]
    if len(known) != len(arrays):
        raise ValueError("a decision without a latent: rollouts need a policy with sampler=latent")
    return torch.from_numpy(np.stack(known)).to(device)
