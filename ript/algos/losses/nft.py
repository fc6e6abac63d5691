"""The likelihood-free loss: towards what did well and away from what did badly (DiffusionNFT, arXiv 2509.16117)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ript.algos.losses.cfg_flow import draw_for_windows
from ript.algos.losses.flow_matching import masked_flow_loss
from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range
from ript.flow.path import path_sample
from ript.models.pi0.conditioning import POSITIVE
from ript.models.pi0.dims import PADDED_DIM
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows
from ript.storage.windows import Window, stack_actions

Encode = Callable[[Sequence[Window]], EncodedObservation]


class NFTTerms(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    positive: Tensor
    """Flow loss E⁺ of the implicit positive policy."""
    negative: Tensor
    """Flow loss E⁻ of the implicit negative policy."""


def nft_loss(
    velocity: Tensor,
    old_velocity: Tensor,
    u_t: Tensor,
    is_pad: Tensor,
    advantages: Tensor,
    action_dim: int,
    *,
    beta: float = 1.0,
) -> NFTTerms:
    """L = r·E⁺ + (1 - r)·E⁻ with E± = ‖u_t - v±‖², v± = v_old ± β·(v - v_old) and r = clip(A, ±0.5) + 0.5.

    `velocity`, `old_velocity` (the acting policy's at the same points, which gets no gradient) and `u_t` are (B, H, D);
    `is_pad` (B, H) and `action_dim` as for `masked_flow_loss`; `advantages` (B,).
    """
    old = old_velocity.detach()
    change = beta * (velocity - old)
    positive, negative = (masked_flow_loss(v, u_t, is_pad, action_dim) for v in (old + change, old - change))
    goodness = advantages.clamp(-0.5, 0.5) + 0.5
    return NFTTerms(goodness * positive + (1 - goodness) * negative, positive, negative)


@dataclass
class NFTLoss:
    """`nft_loss` of the windows of a gradient step, against the velocities of the policy that acted.

    Args:
        nft_beta: β, how far the implicit policies lie from the one that acted.
    """

    nft_beta: float = 1.0
    _old: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError."""
        in_range("nft_beta", self.nft_beta, 1e-6)

    def forget(self) -> None:
        """Drops the velocities of the policy that acted."""
        self._old.clear()

    @torch.no_grad()
    def remember(
        self, policy: PI0_OFT_Policy, batch: Batch, seed: tuple[int, ...], encode: Encode | None = None
    ) -> None:
        """Keeps the velocities of a step's windows by the policy as it is now: the one that acted."""
        velocity, *_ = self._velocities(policy, batch, seed, None)
        rows = zip(_keys(batch, seed), velocity[..., : policy.action_dim].cpu(), strict=True)
        self._old.update(rows)

    def __call__(
        self, policy: PI0_OFT_Policy, batch: Batch, seed: tuple[int, ...], encode: Encode | None = None
    ) -> NFTTerms:
        """The loss of each window. Raises KeyError for a window that was not remembered and has a weight."""
        velocity, u_t, is_pad = self._velocities(policy, batch, seed, encode)
        rows = zip(_keys(batch, seed), batch.weight, velocity.detach()[..., : policy.action_dim], strict=True)
        old = torch.stack([self._old[key].to(own) if weight else own for key, weight, own in rows])
        advantages = torch.tensor([window.advantage for window in batch.windows], dtype=velocity.dtype)
        width = policy.action_dim
        now, goal = velocity[..., :width], u_t[..., :width]
        found = nft_loss(now, old, goal, is_pad, advantages.to(velocity), width, beta=self.nft_beta)
        weight = torch.from_numpy(batch.weight).to(velocity)
        return found._replace(total=weight * found.total)

    def _velocities(
        self, policy: PI0_OFT_Policy, batch: Batch, seed: tuple[int, ...], encode: Encode | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The positive branch's velocity and u_t, both (B, H, 32), and the padding (B, H)."""
        draw = draw_for_windows(batch, seed)
        actions, is_pad = (torch.from_numpy(array).to(policy.device) for array in stack_actions(batch.windows))
        padded = pad(actions, (0, PADDED_DIM - actions.shape[-1]))
        time = draw.time.to(policy.device)
        x_t, u_t = path_sample(padded, draw.noise.to(policy.device), time)
        encoded = encode_windows(policy, batch.windows) if encode is None else encode(batch.windows)
        condition = torch.full(time.shape, POSITIVE, device=policy.device)
        return policy.model.velocity(encoded.prefix, encoded.state, x_t, time, condition), u_t, is_pad


def _keys(batch: Batch, seed: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What tells the windows of all gradient steps apart."""
    rows = zip(batch.windows, batch.occurrence.tolist(), strict=True)
    return [(*seed, window.episode_id, window.start, occurrence) for window, occurrence in rows]
