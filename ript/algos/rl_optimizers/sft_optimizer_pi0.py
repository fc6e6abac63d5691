"""SFT: the flow-matching loss on demonstrations. One iteration is one gradient step.

python train_ript_pi0.py algo=pi0_sft task=libero_object                       # a CPU
torchrun --nproc_per_node=8 train_ript_pi0.py algo=pi0_sft algo.lr=2.5e-5 …    # GPUs
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.cfg_flow_optimizer_pi0 import CFGFlowOptimizerPI0
from ript.algos.rl_optimizers.fit_metrics import window_range_sums
from ript.algos.rl_optimizers.metrics import update_metrics
from ript.distributed import Distributed
from ript.storage.augment import Augmentation
from ript.storage.batch import Batch
from ript.storage.windows import Window
from ript.training.learner import Learner


class SFTOptimizerPI0:
    """One call of `optimize` is one gradient step on a batch of demonstration windows.

    Each window trains one class of the condition, either with probability one half, so that guidance has two branches
    that are alike when reinforcement learning begins.

    Args:
        augmentation: of the images; None changes nothing.
        seed: seeds noise, time, condition and augmentation.
    """

    def __init__(self, augmentation: Augmentation | None = None, seed: int = 0, distributed: Distributed | None = None):
        self.augmentation = augmentation or Augmentation(0, 0.0)
        self.loss = CFGFlowLoss(loss_mode="dropout", cond_dropout=0.5)
        self.seed = seed
        self.distributed = distributed or Distributed()
        self.iteration = 0

    def optimize(
        self,
        model: PI0_OFT_Policy,
        batch: Sequence[Window],
        optimizers: Learner | Mapping[str, Optimizer],
        data_iterator: Iterator[Sequence[Window]] | None = None,
        dataloader: Iterable[Sequence[Window]] | None = None,
    ) -> dict[str, float]:
        """One step on this rank's windows. Returns metrics over all ranks."""
        start = time.perf_counter()
        seed = (self.seed, self.iteration, 0, 0)
        shown = self.augmentation.batch(Batch.of(batch), seed)
        model.model.train()
        sums = Learner.of(model, optimizers).step([(self.loss, shown, 1.0)], seed)
        model.model.eval()
        self.iteration += 1
        sums |= window_range_sums(shown.windows, model.norm_stats)
        metrics = update_metrics(self.distributed, sums, len(shown), 1, CFGFlowOptimizerPI0.losses)
        return {**metrics, "time/update_s": time.perf_counter() - start}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]

    def save_arrays(self, folder: Path) -> None:
        """There are none: the demonstrations stay where they are."""

    def load_arrays(self, folder: Path) -> None:
        """There are none."""
