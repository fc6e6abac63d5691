"""The terms that any algorithm may have beside its own loss: reflow and co-training."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch.utils.data import Dataset

from ript.algos.losses.demonstrations import demonstration_loss
from ript.algos.losses.reflow import reflow_loss
from ript.algos.rl_optimizers.co_training import CoTraining
from ript.algos.rl_optimizers.metrics import ratio
from ript.algos.rl_optimizers.reflow import Reflow
from ript.distributed import Distributed
from ript.storage.augment import Augmentation
from ript.storage.batch import Batch
from ript.storage.windows import Window
from ript.training.learner import Seed, Term


class TermsBeside:
    """Weight 0 adds no term, changes no number and draws none.

    Args:
        demonstrations: windows to co-train on.
        augmentation: of their images.

    Raises:
        ValueError: co-training without demonstrations.
    """

    def __init__(
        self,
        reflow: Reflow,
        co_training: CoTraining,
        demonstrations: Dataset[Window] | None,
        augmentation: Augmentation,
        distributed: Distributed,
    ):
        if co_training.weight and demonstrations is None:
            raise ValueError("enable_sft_co_train needs co_train_windows")
        self.reflow, self.co_training, self.demonstrations = reflow, co_training, demonstrations
        self.augmentation, self.distributed = augmentation, distributed

    def terms(self, batch: Batch, seed: Seed, encode: Callable[..., Any] | None) -> list[Term]:
        """Those of a gradient step on these windows of rollouts. A collective."""
        terms: list[Term] = []
        if self.reflow.weight:
            loss = partial(reflow_loss, encode=encode)
            terms.append((loss, self.reflow.part(batch), self.reflow.weight))
        if self.co_training.weight and self.demonstrations is not None:
            shown = self.co_training.batch(self.demonstrations, batch, seed, self.distributed)
            terms.append((demonstration_loss, self.augmentation.batch(shown, seed), self.co_training.weight))
        return terms

    @property
    def losses(self) -> dict[str, str]:
        """Field of a term's loss → metric, of the terms that there are."""
        reflow = {"reflow": "actor/reflow_loss"} if self.reflow.weight else {}
        return reflow | ({"sft": "train/sft_loss"} if self.co_training.weight else {})

    def metrics(self, metrics: Mapping[str, float], own: str) -> dict[str, float]:
        """What all terms add up to; `own` is the metric of the algorithm's own loss. Nothing without a term."""
        if not self.losses or own not in metrics:
            return {}
        demonstrated = self.co_training.weight * metrics.get("train/sft_loss", 0.0)
        total = metrics[own] + self.reflow.weight * metrics.get("actor/reflow_loss", 0.0) + demonstrated
        found = {"actor/total_loss": total}
        if self.co_training.weight:
            found["train/ppo_loss"] = metrics[own]
            found |= ratio("train/loss_ratio", abs(demonstrated), abs(metrics[own]))
        return found
