"""SFT: the flow-matching loss on demonstrations."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.optim import Optimizer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.fit_metrics import window_range_sums
from ript.algos.rl_optimizers.metrics import update_metrics
from ript.algos.rl_optimizers.window_update import WindowUpdate
from ript.distributed import Distributed
from ript.storage.augment import Augmentation
from ript.storage.windows import Window


class SFTOptimizerPI0:
    """One call of `optimize` is one gradient step on a batch of demonstration windows.

    Each window trains one class of the condition, either with probability one half, so that guidance has two branches
    that are alike when reinforcement learning begins.

    Args:
        shift, jitter: image augmentation, see `Augmentation`.
        optimizer_batch_size: windows per forward pass; bounds memory and changes nothing else.
        gradient_clip: largest norm of each parameter group's gradient.
        seed: seeds noise, time, condition and augmentation.
    """

    def __init__(
        self,
        *,
        shift: int = 4,
        jitter: float = 0.2,
        optimizer_batch_size: int = 32,
        gradient_clip: float = 1.0,
        seed: int = 0,
        distributed: Distributed | None = None,
    ):
        self.distributed = distributed or Distributed()
        self.augmentation = Augmentation(shift, jitter)
        self.window_update = WindowUpdate(
            loss_mode="dropout",
            cond_dropout=0.5,
            optimizer_batch_size=optimizer_batch_size,
            gradient_clip=gradient_clip,
            distributed=self.distributed,
        )
        self.seed = seed
        self.iteration = 0

    def optimize(
        self,
        model: PI0_OFT_Policy,
        batch: Sequence[Window],
        optimizers: Mapping[str, Optimizer],
        data_iterator: Iterator[Sequence[Window]] | None = None,
        dataloader: Iterable[Sequence[Window]] | None = None,
    ) -> dict[str, float]:
        """One step on this rank's windows. Returns metrics over all ranks."""
        start = time.perf_counter()
        model.model.train()
        seed = (self.seed, self.iteration)
        windows = self.augmentation.windows(batch, seed)
        sums = self.window_update.step(model, windows, np.ones(len(windows)), optimizers, seed)
        self.iteration += 1
        model.model.eval()
        sums |= window_range_sums(windows, model.norm_stats)
        metrics = update_metrics(self.distributed, sums, len(windows), steps=1)
        return {**metrics, "time/update_s": time.perf_counter() - start}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]
