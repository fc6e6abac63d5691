"""CFG-Flow: rollouts → advantages → windows → weighted conditional and unconditional flow losses → step."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch.optim import Optimizer
from tqdm import tqdm

from ript.algos.advantages import Weighting, positive_weights, rloo_advantages
from ript.algos.losses.cfg_flow import LossMode
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.metrics import rollout_metrics, update_metrics
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.update_batches import UpdateBatches
from ript.algos.rl_optimizers.window_replay import WindowReplay
from ript.algos.rl_optimizers.window_update import WindowUpdate
from ript.checks import in_range, one_of, whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.storage.augment import Augmentation
from ript.storage.prefix_store import PrefixStore
from ript.storage.windows import ShortWindows, Stride, Window, cut_windows


class CFGFlowOptimizerPI0:
    """One call of `optimize` is one iteration: new rollouts, then gradient steps on their windows.

    Args:
        rollout_generator: where groups of rollouts come from.
        reward_function: has `compute_reward(i, episode, batch) -> float`.
        alpha_uncond: weight of the unconditional loss.
        loss_mode: `dual` (both branches per window) or `dropout` (one, as published).
        advantage_weighting: `binary`, `continuous` (which `temperature` and `a_max` belong to) or `none`: see
            `positive_weights`.
        cond_dropout: probability of the unconditional branch in `dropout` mode.
        window_stride: steps between windows; None is one per chunk, `last` the last chunk's only.
        short_windows: `mask` what lies after the episode's end, or `skip` such windows.
        max_windows_per_episode: keep the last ones only; None keeps all.
        num_epochs: passes over the windows per iteration.
        update_batch_size, positive_share, demonstration_share: see `UpdateBatches`.
        replay_iterations: learn from the windows of so many iterations, the newest among them; 1 is on-policy.
        shift, jitter: image augmentation, see `Augmentation`.
        optimizer_batch_size: windows per forward pass; bounds memory and changes nothing else.
        gradient_clip: largest norm of each parameter group's gradient.
        reuse_prefix: encode each window once per iteration, for all epochs; needs a frozen prefix.
        reuse_prefix_gib: bound of the memory for that; windows beyond it are encoded each time.
        seed: seeds noise, time and the order of windows.
    """

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        alpha_uncond: float = 0.1,
        loss_mode: LossMode = "dual",
        advantage_weighting: Weighting = "binary",
        temperature: float = 1.0,
        a_max: float = 5.0,
        cond_dropout: float = 0.1,
        window_stride: Stride = None,
        short_windows: ShortWindows = "mask",
        max_windows_per_episode: int | None = None,
        num_epochs: int = 1,
        update_batch_size: int | None = None,
        replay_iterations: int = 1,
        positive_share: float | None = None,
        demonstration_share: float = 0.0,
        shift: int = 0,
        jitter: float = 0.0,
        optimizer_batch_size: int = 8,
        gradient_clip: float = 1.0,
        reuse_prefix: bool = False,
        reuse_prefix_gib: float = 4.0,
        use_tqdm: bool = True,
        seed: int = 0,
        distributed: Distributed | None = None,
    ):
        one_of("advantage_weighting", advantage_weighting, ("binary", "continuous", "none"))
        one_of("short_windows", short_windows, ("mask", "skip"))
        in_range("temperature", temperature, 1e-6)
        in_range("a_max", a_max, 0)
        whole_number("max_windows_per_episode", max_windows_per_episode, 1)
        whole_number("num_epochs", num_epochs, 1)
        whole_number("replay_iterations", replay_iterations, 1)
        if reuse_prefix and (shift or jitter):
            raise ValueError("reuse_prefix keeps what the images were encoded to: set shift and jitter to 0")
        in_range("reuse_prefix_gib", reuse_prefix_gib, 0)
        self.rollout_generator = rollout_generator
        self.reward_function = reward_function
        self.distributed = distributed or Distributed()
        self.window_update = WindowUpdate(
            alpha_uncond=alpha_uncond,
            loss_mode=loss_mode,
            cond_dropout=cond_dropout,
            optimizer_batch_size=optimizer_batch_size,
            gradient_clip=gradient_clip,
            distributed=self.distributed,
        )
        self.advantage_weighting: Weighting = advantage_weighting
        self.temperature, self.a_max = temperature, a_max
        self.window_stride: Stride = window_stride
        self.short_windows: ShortWindows = short_windows
        self.max_windows_per_episode = max_windows_per_episode
        self.num_epochs = num_epochs
        self.replay = WindowReplay(replay_iterations)
        self.batches = UpdateBatches(update_batch_size, positive_share, demonstration_share, self.distributed)
        self.augmentation = Augmentation(shift, jitter)
        self.reuse_prefix_gib = reuse_prefix_gib if reuse_prefix else None
        self.use_tqdm = use_tqdm and self.distributed.is_main
        self.seed = seed
        self.iteration = 0
        self.episodes_seen = 0
        """Episodes of all ranks that were learned from: their ids begin there, so that none is used twice."""

    def optimize(
        self,
        model: PI0_OFT_Policy,
        batch: Mapping[str, Any],
        optimizers: Mapping[str, Optimizer],
        data_iterator: Iterator[Mapping[str, Any]] | None = None,
        dataloader: Iterable[Mapping[str, Any]] | None = None,
    ) -> dict[str, float]:
        """One iteration. `optimizers` has the keys of `model.trainable_params`. Returns metrics over all ranks."""
        start = time.perf_counter()
        model.model.eval()
        episodes, _, valid_mask, checked = self.rollout_generator.generate_rollouts(
            model, batch, data_iterator, dataloader
        )
        rewards = np.array([self.reward_function.compute_reward(i, e, batch) for i, e in enumerate(episodes)])
        kept = [episode for episode, valid in zip(episodes, valid_mask, strict=True) if valid]
        kept_rewards = rewards[valid_mask] if len(rewards) else rewards
        group_size, runner = self.rollout_generator.rloo_batch_size, self.rollout_generator.env_runner
        advantages = rloo_advantages(kept_rewards, group_size)
        metrics = rollout_metrics(
            self.distributed,
            runner.benchmark,
            episodes,
            kept_rewards,
            advantages,
            checked,
            model.norm_stats,
            group_size,
        )
        metrics["cfg_scale"] = runner.settings.guidance(runner.cfg_scale)
        collected = time.perf_counter()
        windows = self.make_windows(model, kept, advantages)
        metrics |= self.update(model, windows, advantages, optimizers)
        self.iteration += 1
        self.episodes_seen += int(metrics["rollouts_learned_from"])
        metrics["time/rollout_s"] = collected - start
        metrics["time/update_s"] = time.perf_counter() - collected
        return metrics

    def make_windows(self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], advantages: np.ndarray) -> list[Window]:
        """The windows of this rank's episodes, each with its episode's advantage."""
        counts = self.distributed.gather(len(episodes))
        first = self.episodes_seen + sum(counts[: self.distributed.rank])
        return [
            window
            for i, (episode, advantage) in enumerate(zip(episodes, advantages, strict=True))
            for window in cut_windows(
                episode,
                float(advantage),
                first + i,
                policy.norm_stats,
                horizon=policy.chunk_size,
                stride=self.window_stride,
                short_windows=self.short_windows,
                max_windows=self.max_windows_per_episode,
                delta_actions=policy.card.delta_actions,
            )
        ]

    def update(
        self,
        policy: PI0_OFT_Policy,
        windows: Sequence[Window],
        advantages: np.ndarray,
        optimizers: Mapping[str, Optimizer],
    ) -> dict[str, float]:
        """Gradient steps on the windows of all ranks. A rank without windows takes part with zero gradients."""
        policy.model.train()  # dropout of adapters and checkpointing of the vision tower; nothing else depends on it
        store = None if self.reuse_prefix_gib is None else PrefixStore(policy, self.reuse_prefix_gib)
        pool = self.replay.add(windows, self.weights(windows, advantages))
        weights = np.array([entry.weight for entry in pool])
        totals: dict[str, float] = defaultdict(float)
        total_steps = 0
        for epoch in range(self.num_epochs):
            batches = self.batches.epoch(weights, (self.seed, self.iteration, epoch))
            steps = self.distributed.max(len(batches))
            total_steps += steps
            for step in tqdm(range(steps), desc=f"updates, epoch {epoch + 1}", disable=not self.use_tqdm, leave=False):
                chosen = batches[step] if step < len(batches) else np.zeros(0, int)
                seed = (self.seed, self.iteration, epoch, step)
                shown = self.batches.demonstrated(seed)
                batch = self.augmentation.windows([*(pool[i].window for i in chosen), *shown], seed)
                weight = np.concatenate([weights[chosen], np.ones(len(shown))])
                sums = self.window_update.step(policy, batch, weight, optimizers, seed, store)
                for name, value in sums.items():
                    totals[name] += value
                self._add_epoch(totals, sums, epoch)
        policy.model.eval()
        return update_metrics(self.distributed, totals, len(windows), total_steps)

    def weights(self, windows: Sequence[Window], advantages: np.ndarray) -> np.ndarray:
        """w(A) of each window; `advantages` are those of this rank's episodes."""
        everyone = np.concatenate(self.distributed.gather(advantages))
        std = float(everyone.std()) if len(everyone) else 0.0
        own = np.array([window.advantage for window in windows])
        return positive_weights(own, self.advantage_weighting, std, self.temperature, self.a_max)

    def _add_epoch(self, totals: dict[str, float], sums: Mapping[str, float], epoch: int) -> None:
        """Keeps the positive loss of the first and of the last epoch apart, where there are several."""
        for name, number in (("first_epoch", 0), ("last_epoch", self.num_epochs - 1)):
            if epoch == number and self.num_epochs > 1:
                totals[f"{name}_sum"] += sums.get("learned_sum", 0.0)
                totals[f"{name}_count"] += sums.get("learned_count", 0.0)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers."""
        return {
            "iteration": self.iteration,
            "episodes_seen": self.episodes_seen,
            "rollout_generator": self.rollout_generator.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]
        self.episodes_seen = state["episodes_seen"]
        self.rollout_generator.load_state_dict(state["rollout_generator"])
