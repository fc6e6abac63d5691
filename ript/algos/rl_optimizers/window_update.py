"""One gradient step on weighted windows, over micro-batches and ranks."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch.optim import Optimizer

from ript.algos.losses.cfg_flow import LossMode, cfg_flow_loss, draw_for_windows
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range, one_of, whole_number
from ript.distributed import Distributed
from ript.storage.prefix_store import PrefixStore
from ript.storage.windows import Window


class WindowUpdate:
    """Gradient accumulation, all-reduce, clipping per parameter group, step.

    Args:
        alpha_uncond, loss_mode, cond_dropout: see `cfg_flow_loss`.
        optimizer_batch_size: windows per forward pass; bounds memory and changes nothing else.
        gradient_clip: largest norm of each parameter group's gradient.
    """

    def __init__(
        self,
        *,
        alpha_uncond: float = 0.1,
        loss_mode: LossMode = "dual",
        cond_dropout: float = 0.1,
        optimizer_batch_size: int = 8,
        gradient_clip: float = 1.0,
        distributed: Distributed | None = None,
    ):
        one_of("loss_mode", loss_mode, ("dual", "dropout"))
        in_range("alpha_uncond", alpha_uncond, 0)
        in_range("cond_dropout", cond_dropout, 0, 1)
        in_range("gradient_clip", gradient_clip, 1e-6)
        whole_number("optimizer_batch_size", optimizer_batch_size, 1)
        self.loss = partial(cfg_flow_loss, alpha_uncond=alpha_uncond, loss_mode=loss_mode, cond_dropout=cond_dropout)
        self.optimizer_batch_size = optimizer_batch_size
        self.gradient_clip = gradient_clip
        self.distributed = distributed or Distributed()

    def step(
        self,
        policy: PI0_OFT_Policy,
        windows: Sequence[Window],
        weights: np.ndarray,
        optimizers: Mapping[str, Optimizer],
        seed: tuple[int, ...],
        store: PrefixStore | None = None,
    ) -> dict[str, float]:
        """Steps both optimizers. Returns this rank's sums of losses, and the gradient norms and what clipping kept of
        them (a share), which are of all ranks.

        `seed` fixes the windows' noise and time; `store` has their prefixes, if they are to be reused.
        Raises RuntimeError for a gradient that is not finite, before anything is stepped.
        """
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        sums = self.accumulate_gradients(policy, windows, weights, seed, store)
        for group, parameters in policy.trainable_params.items():
            self.distributed.sum_gradients(parameters)
            norm = torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip, error_if_nonfinite=True)
            sums[f"gradient_norm_{group}"] = float(norm)
            sums[f"gradient_kept_{group}"] = self.gradient_clip / max(float(norm), self.gradient_clip)
        for optimizer in optimizers.values():
            optimizer.step()
        return sums

    def accumulate_gradients(
        self,
        policy: PI0_OFT_Policy,
        windows: Sequence[Window],
        weights: np.ndarray,
        seed: tuple[int, ...],
        store: PrefixStore | None = None,
    ) -> dict[str, float]:
        """Adds the gradient of the mean loss over the windows of all ranks; returns this rank's sums of losses.

        `learned` among them is the positive branch's on windows of positive weight, what that branch is trained on.
        The result does not depend on `optimizer_batch_size`, nor on how the windows are spread over ranks.
        """
        sums: dict[str, float] = defaultdict(float)
        encode = None if store is None else store.encode
        count = sum(self.distributed.gather(len(windows)))
        for first in range(0, len(windows), self.optimizer_batch_size):
            part = windows[first : first + self.optimizer_batch_size]
            weight = torch.from_numpy(weights[first : first + self.optimizer_batch_size]).float()
            loss = self.loss(policy, part, weight, draw_for_windows(part, seed), encode=encode)
            (loss.total.sum() / count).backward()
            for name, values in zip(loss._fields, loss, strict=True):
                known = values.detach()[~values.isnan()]
                sums[f"{name}_sum"] += float(known.sum())
                sums[f"{name}_count"] += len(known)
            learned = loss.positive.detach()[(weight > 0).to(loss.positive.device)]
            learned = learned[~learned.isnan()]
            sums["learned_sum"] += float(learned.sum())
            sums["learned_count"] += len(learned)
        return sums
