"""The loss of a critic beside a policy that is not scored: Huber's, at points of the flow to the windows' actions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, pad

from ript.algos.losses.cfg_flow import draw_for_windows
from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.flow.path import path_sample
from ript.models.pi0.dims import PADDED_DIM
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows
from ript.storage.windows import Window, stack_actions


class CriticTerms(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    value: Tensor


@dataclass(frozen=True)
class CriticLoss:
    """Huber(V - R) of each window, at the noise and time that its flow loss has too; 0 where there is no return.

    Args:
        huber_delta: where it turns from a square to a line.
    """

    huber_delta: float = 10.0

    def __call__(
        self,
        policy: PI0_OFT_Policy,
        batch: Batch,
        seed: tuple[int, ...],
        encode: Callable[[Sequence[Window]], EncodedObservation] | None = None,
    ) -> CriticTerms:
        """The loss of each window; `encode` as for `CFGFlowLoss`."""
        draw = draw_for_windows(batch, seed)
        noise, time = draw.noise.to(policy.device), draw.time.to(policy.device)
        actions = torch.from_numpy(stack_actions(batch.windows)[0]).to(policy.device)
        x_t, _ = path_sample(pad(actions, (0, PADDED_DIM - actions.shape[-1])), noise, time)
        with torch.set_grad_enabled(not policy.heads.settings.detach_critic_input):
            encoded = (encode or (lambda windows: encode_windows(policy, windows)))(batch.windows)
        values = policy.value(encoded, x_t, time)
        returns = torch.tensor([window.returns for window in batch.windows], dtype=values.dtype, device=values.device)
        known = ~returns.isnan()
        loss = huber_loss(
            values, torch.where(known, returns, values.detach()), reduction="none", delta=self.huber_delta
        )
        return CriticTerms(loss, torch.where(known, loss.detach(), torch.nan))
