"""CFG-Flow: rollouts → advantages → windows → weighted conditional and unconditional flow losses → step.

    python train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_small_pi0                        # a CPU
    torchrun --nproc_per_node=8 train_ript_pi0.py --config-name train_rl_pi0_cfg_all_task_spatial     # GPUs

Source: CFGRL (arXiv 2505.23458) with RIPT's rollouts and leave-one-out advantages (arXiv 2505.17016). Different from
CFGRL: time is π0's (t = 1 is noise), and by default both branches are trained on each window, with the same noise.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch.optim import Optimizer

from ript.algos.advantages import PositiveWeights, rloo_advantages
from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.metrics import rollout_metrics, update_metrics
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.checks import whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.progress import progress_bar
from ript.storage.augment import Augmentation
from ript.storage.prefix_store import PrefixStore
from ript.storage.rollout_storage import RolloutStorage
from ript.storage.windows import Window, WindowCutter
from ript.training.learner import Learner, LossFn


class CFGFlowOptimizerPI0:
    """One call of `optimize` is one iteration: new rollouts, then gradient steps on their windows.

    Args:
        rollout_generator: where groups of rollouts come from.
        reward_function: has `compute_reward(i, episode, batch) -> float`.
        weighting: from advantages to the weights of the positive branch.
        loss: of a batch of windows.
        cutter: from episodes to windows.
        storage: which windows a gradient step has.
        augmentation: of the images; None changes nothing.
        prefix_store: encodes each window once per iteration, for all epochs; None encodes each time.
        num_epochs: passes over the windows per iteration.
        seed: seeds noise, time, the order of windows and augmentation.
    """

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        weighting: PositiveWeights | None = None,
        loss: CFGFlowLoss | None = None,
        cutter: WindowCutter | None = None,
        storage: RolloutStorage | None = None,
        augmentation: Augmentation | None = None,
        prefix_store: PrefixStore | None = None,
        num_epochs: int = 1,
        use_tqdm: bool = True,
        seed: int = 0,
        distributed: Distributed | None = None,
    ):
        whole_number("num_epochs", num_epochs, 1)
        self.distributed = distributed or Distributed()
        self.rollout_generator, self.reward_function = rollout_generator, reward_function
        self.weighting = weighting or PositiveWeights()
        self.loss, self.cutter = loss or CFGFlowLoss(), cutter or WindowCutter()
        self.storage = storage or RolloutStorage(distributed=self.distributed)
        self.augmentation = augmentation or Augmentation(0, 0.0)
        self.prefix_store = prefix_store
        if prefix_store is not None and self.augmentation.changes:
            raise ValueError("reuse_prefix keeps what the images were encoded to: set shift and jitter to 0")
        self.num_epochs = num_epochs
        self.use_tqdm = use_tqdm and self.distributed.is_main
        self.seed = seed
        self.iteration = 0

    def optimize(
        self,
        model: PI0_OFT_Policy,
        batch: Mapping[str, Any],
        optimizers: Learner | Mapping[str, Optimizer],
        data_iterator: Iterator[Mapping[str, Any]] | None = None,
        dataloader: Iterable[Mapping[str, Any]] | None = None,
    ) -> dict[str, float]:
        """One iteration: collect, store, step. Returns metrics over all ranks.

        `optimizers` is the learner, or RIPT's mapping with the keys of `model.trainable_params`.
        """
        start = time.perf_counter()
        learner = Learner.of(model, optimizers)
        episodes, metrics = self.collect(learner, batch, data_iterator, dataloader)
        collected = time.perf_counter()
        advantages = rloo_advantages([e.score for e in episodes], self.rollout_generator.rloo_batch_size)
        windows = self.make_windows(model, episodes, advantages)
        self.storage.add(windows, self.weights(windows, advantages))
        metrics |= self.update(learner, len(windows))
        self.iteration += 1
        metrics["time/rollout_s"] = collected - start
        metrics["time/update_s"] = time.perf_counter() - collected
        return metrics

    def collect(
        self,
        learner: Learner,
        batch: Mapping[str, Any],
        data_iterator: Iterator[Mapping[str, Any]] | None = None,
        dataloader: Iterable[Mapping[str, Any]] | None = None,
    ) -> tuple[list[Episode], dict[str, float]]:
        """The rollouts that are learned from, in whole groups, and metrics of all that were tried."""
        policy = learner.policy
        policy.model.eval()
        with learner.acting():
            episodes, _, valid_mask, checked = self.rollout_generator.generate_rollouts(
                policy, batch, data_iterator, dataloader, self.reward_function
            )
        runner = self.rollout_generator.env_runner
        metrics = rollout_metrics(
            self.distributed,
            runner.benchmark,
            episodes,
            valid_mask,
            checked,
            policy.norm_stats,
            self.rollout_generator.rloo_batch_size,
        )
        metrics["cfg_scale"] = runner.settings.guidance(runner.cfg_scale)
        return [episode for episode, valid in zip(episodes, valid_mask, strict=True) if valid], metrics

    def make_windows(self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], advantages: np.ndarray) -> list[Window]:
        """The windows of this rank's episodes, each with its episode's advantage."""
        cut = partial(
            self.cutter.cut,
            norm_stats=policy.norm_stats,
            horizon=policy.chunk_size,
            delta_actions=policy.card.delta_actions,
        )
        pairs = zip(episodes, advantages, strict=True)
        return [window for episode, advantage in pairs for window in cut(episode, float(advantage))]

    def weights(self, windows: Sequence[Window], advantages: np.ndarray) -> np.ndarray:
        """w(A) of each window; `advantages` are those of this rank's episodes. A collective."""
        everyone = np.concatenate(self.distributed.gather(advantages))
        std = float(everyone.std()) if len(everyone) else 0.0
        return self.weighting(np.array([window.advantage for window in windows]), std)

    def update(self, learner: Learner, num_windows: int) -> dict[str, float]:
        """Gradient steps on the windows of all ranks. A rank without windows takes part with zero gradients."""
        model = learner.policy.model
        model.train()  # dropout of adapters and checkpointing of the vision tower; nothing else depends on it
        loss: LossFn = self.loss
        if self.prefix_store is not None:
            self.prefix_store.clear()
            loss = partial(self.loss, encode=self.prefix_store.encode)
        totals: dict[str, float] = defaultdict(float)
        steps = 0
        for epoch in range(self.num_epochs):
            batches = self.storage.mini_batches((self.seed, self.iteration, epoch))
            for step, batch in enumerate(self._with_bar(batches, f"updates, epoch {epoch + 1}")):
                seed = (self.seed, self.iteration, epoch, step)
                sums = learner.step([(loss, self.augmentation.batch(batch, seed), 1.0)], seed)
                for name, value in sums.items():
                    totals[name] += value
                self._add_epoch(totals, sums, epoch)
                steps += 1
        model.eval()
        return update_metrics(self.distributed, totals, num_windows, steps)

    def _with_bar(self, batches: Iterator[Any], name: str) -> Iterator[Any]:
        return iter(progress_bar(batches, desc=name, disable=not self.use_tqdm, leave=False))

    def _add_epoch(self, totals: dict[str, float], sums: Mapping[str, float], epoch: int) -> None:
        """Keeps the positive loss of the first and of the last epoch apart, where there are several."""
        for name, number in (("first_epoch", 0), ("last_epoch", self.num_epochs - 1)):
            if epoch == number and self.num_epochs > 1:
                totals[f"{name}_sum"] += sums.get("positive_sum", 0.0)
                totals[f"{name}_count"] += sums.get("positive_count", 0.0)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers."""
        return {"iteration": self.iteration, "rollout_generator": self.rollout_generator.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]
        self.rollout_generator.load_state_dict(state["rollout_generator"])

    def save_arrays(self, folder: Path) -> None:
        """Writes this rank's windows that will be replayed into the folder, which all ranks share."""
        self.storage.save(folder / f"replay_{self.distributed.rank}.safetensors")

    def load_arrays(self, folder: Path) -> None:
        """Restores the windows of all ranks. Raises ValueError naming a damaged file."""
        paths = sorted(folder.glob("replay_*.safetensors"), key=lambda path: int(path.stem.removeprefix("replay_")))
        if paths:
            self.storage.load(paths)
