"""The co-training term of any algorithm: a flow loss on demonstrations beside the loss of the rollouts."""

from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import Dataset

from ript.checks import in_range, one_of
from ript.distributed import Distributed
from ript.seeds import Word
from ript.storage.batch import Batch
from ript.storage.demonstrated import draw_demonstrated
from ript.storage.windows import Window


@dataclass(frozen=True)
class CoTraining:
    """RL loss + sft_loss_weight · flow loss on as many demonstrated windows as a gradient step has windows of rollouts.

    So each micro-batch has a batch of demonstrations of its own size. Which windows a step has is drawn from its seed.

    Args:
        enable_sft_co_train: there is such a term.
        use_real_data_co_training: the older name of the same; None where it is not used.
        sft_loss_weight: β.
        sft_data_path: the demonstrations; here only to be refused early if there is nothing.
        freeze_policy: only to refuse what would change nothing.

    Raises:
        ValueError, FileNotFoundError: naming key and value.
    """

    enable_sft_co_train: bool = False
    use_real_data_co_training: bool | None = None
    sft_loss_weight: float = 0.2
    sft_data_path: str | None = None
    freeze_policy: bool = False

    def __post_init__(self) -> None:
        """See the class."""
        one_of("enable_sft_co_train", self.enable_sft_co_train, (True, False))
        one_of("use_real_data_co_training", self.use_real_data_co_training, (None, True, False))
        in_range("sft_loss_weight", self.sft_loss_weight, 0)
        if self.enable_sft_co_train and self.use_real_data_co_training is False:
            raise ValueError("use_real_data_co_training=false contradicts enable_sft_co_train=true: set one of them")
        if self.weight and self.freeze_policy:
            raise ValueError("enable_sft_co_train=true needs freeze_policy=false: a frozen policy learns nothing of it")
        if self.weight and self.sft_data_path is not None and not Path(self.sft_data_path).expanduser().exists():
            raise FileNotFoundError(f"sft_data_path not found: {self.sft_data_path}")

    @property
    def weight(self) -> float:
        """0: no such term."""
        return self.sft_loss_weight if self.enable_sft_co_train or self.use_real_data_co_training else 0.0

    def batch(
        self, windows: Dataset[Window], rollouts: Batch, seed: tuple[int, ...], distributed: Distributed
    ) -> Batch:
        """This rank's share of a step's demonstrations; `rollouts` is its share of the other windows. A collective."""
        count = sum(distributed.gather(len(rollouts)))
        return draw_demonstrated(windows, count, Word.CO_TRAINED, seed, distributed)
