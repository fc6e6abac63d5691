"""What every algorithm that learns from rollouts has in common: collect, estimate advantages, store, step."""

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.optim import Optimizer
from torch.utils.data import Dataset

from ript.algos.policies.actor import Actor
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.advantage_estimator import AdvantageEstimator, Estimate
from ript.algos.rl_optimizers.co_training import CoTraining
from ript.algos.rl_optimizers.group_trials import MOST_MEMBERS
from ript.algos.rl_optimizers.metrics import rollout_metrics, update_metrics
from ript.algos.rl_optimizers.reflow import Reflow
from ript.algos.rl_optimizers.rollout_generator import RolloutGenerator
from ript.algos.rl_optimizers.terms_beside import TermsBeside
from ript.checks import whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.policy import Policy
from ript.flow.samplers import Ode
from ript.models.pi0.dims import PADDED_DIM
from ript.progress import progress_bar
from ript.results.videos import step_folder
from ript.seeds import Word, entropy, torch_generator
from ript.storage.augment import Augmentation
from ript.storage.batch import Batch
from ript.storage.episode_files import EPISODE_FOLDER, write_episode
from ript.storage.prefix_store import PrefixStore
from ript.storage.rollout_storage import RolloutStorage
from ript.storage.windows import Window
from ript.training.learner import Learner, LossTerms, Seed, Term

VALUE_BATCH = 16
"""Observations per inference when episodes that ran out of time are valued."""


class RolloutOptimizer(ABC):
    """One call of `optimize` is one iteration: new rollouts, then gradient steps on their windows.

    Args:
        rollout_generator: where groups of rollouts come from.
        reward_function: has `compute_reward(i, episode, batch) -> float`.
        estimator: of advantages.
        storage: which windows a gradient step has.
        augmentation: of the images; None changes nothing.
        prefix_store: encodes each window once per iteration, for all epochs; None encodes each time.
        reflow, co_training: terms beside the algorithm's own loss; None: none.
        co_train_windows: demonstrations for the latter.
        num_epochs: passes over the windows per iteration.
        save_episodes: write every rollout that was tried into `episodes_dir` (`ript.storage.episode_files`).
        seed: seeds noise, time, the order of windows and augmentation.
    """

    losses: ClassVar[Mapping[str, str]]
    """Field of the loss → the metric that is its mean over windows."""
    loss: Any
    """`(policy, batch, seed, encode=…) → LossTerms`."""

    def __init__(
        self,
        rollout_generator: RolloutGenerator,
        reward_function: Any,
        *,
        estimator: AdvantageEstimator | None = None,
        storage: RolloutStorage | None = None,
        augmentation: Augmentation | None = None,
        prefix_store: PrefixStore | None = None,
        reflow: Reflow | None = None,
        co_training: CoTraining | None = None,
        co_train_windows: Dataset[Window] | None = None,
        num_epochs: int = 1,
        save_episodes: bool = False,
        episodes_dir: str = EPISODE_FOLDER,
        use_tqdm: bool = True,
        seed: int = 0,
        distributed: Distributed | None = None,
    ):
        whole_number("num_epochs", num_epochs, 1)
        self.distributed = distributed or Distributed()
        self.rollout_generator, self.reward_function = rollout_generator, reward_function
        self.estimator = estimator or AdvantageEstimator(rloo_batch_size=rollout_generator.rloo_batch_size)
        self.storage = storage or RolloutStorage(distributed=self.distributed)
        self.augmentation = augmentation or Augmentation(0, 0.0)
        self.prefix_store = prefix_store
        self.reflow = reflow or Reflow()
        self.beside = TermsBeside(
            self.reflow, co_training or CoTraining(), co_train_windows, self.augmentation, self.distributed
        )
        if prefix_store is not None and self.augmentation.changes:
            raise ValueError("reuse_prefix keeps what the images were encoded to: set shift and jitter to 0")
        runner = rollout_generator.env_runner
        if self.estimator.advantage == "gae" and runner.cfg_scale != 1.0:
            raise ValueError(f"cfg_scale={runner.cfg_scale} is not valid with advantage=gae: no critic sees guidance")
        if self.estimator.needs_last_values and not runner.observe_end:
            raise ValueError("advantage=gae with bootstrap=truncation needs observe_end=true")
        if runner.observe_every is not None and not save_episodes:
            raise ValueError("observe_every needs save_episodes=true: nobody else reads what it adds")
        self.episodes_dir = Path(episodes_dir) if save_episodes else None
        self.num_epochs = num_epochs
        self.use_tqdm = use_tqdm and self.distributed.is_main
        self.seed = seed
        self.iteration = 0
        self.steps = 0
        """Gradient steps done, over all iterations."""

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
        episodes, estimate, metrics = self.collect(learner, batch, data_iterator, dataloader)
        collected = time.perf_counter()
        windows, weights = self.windows_and_weights(model, episodes, estimate)
        if self.reflow.weight:
            windows, chosen = self.reflow.select(windows, episodes, self.distributed)
            metrics |= chosen
        self.storage.add(windows, weights)
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
    ) -> tuple[list[Episode], Estimate, dict[str, float]]:
        """The rollouts that are learned from, in whole groups; their advantages; metrics of all that were tried."""
        policy, generator = learner.policy, self.rollout_generator
        policy.model.eval()
        with learner.acting():
            actor = self.actor(policy)
            tried, _, valid_mask, checked = generator.generate_rollouts(
                actor, batch, data_iterator, dataloader, self.reward_function
            )
            self.save_episodes(tried, policy)
            episodes = [episode for episode, valid in zip(tried, valid_mask, strict=True) if valid]
            last_values = self.last_values(actor, episodes)
            generator.begin_next(self.actor(policy, self.iteration + 1), dataloader)
        estimate = self.estimator(episodes, last_values, self.distributed)
        runner = generator.env_runner
        metrics = rollout_metrics(
            self.distributed,
            runner.benchmark,
            tried,
            valid_mask,
            estimate.advantages,
            checked,
            policy.norm_stats,
            generator.rloo_batch_size,
        )
        metrics["cfg_scale"] = runner.settings.guidance(runner.cfg_scale)
        return episodes, estimate, metrics

    def actor(self, policy: PI0_OFT_Policy, iteration: int | None = None) -> Policy:
        """What acts in an iteration's rollouts; None is the one in progress."""
        return Actor(policy, Ode(policy.num_steps, keeps_ends=True)) if self.reflow.weight else policy

    def save_episodes(self, episodes: Sequence[Episode], policy: PI0_OFT_Policy) -> None:
        """Writes this rank's rollouts, where that was asked for. Raises OSError naming the file."""
        if self.episodes_dir is None:
            return
        benchmark = self.rollout_generator.env_runner.benchmark
        names = benchmark.get_task_names()
        for episode in episodes:
            context, member = divmod(episode.episode_id, MOST_MEMBERS)
            name = f"{step_folder(self.iteration + 1)}_context_{context:06d}_{member:02d}.safetensors"
            task = names[episode.task_id]
            write_episode(self.episodes_dir / task / name, episode, benchmark.name, task, policy.norm_stats)

    @abstractmethod
    def windows_and_weights(
        self, policy: PI0_OFT_Policy, episodes: Sequence[Episode], estimate: Estimate
    ) -> tuple[list[Window], np.ndarray]:
        """What this rank's episodes teach: windows, and the weight (N,) of each. A collective."""

    def terms(self, batch: Batch, loss: Callable[..., LossTerms]) -> list[Term]:
        """What a gradient step minimises; `loss` is this optimizer's, with the prefixes that are kept."""
        return [(loss, batch, 1.0)]

    def terms_beside(self, batch: Batch, seed: Seed, encode: Callable[..., Any] | None) -> list[Term]:
        """Reflow and co-training, as far as they are asked for. A collective."""
        return self.beside.terms(batch, seed, encode)

    def groups(self, learner: Learner) -> list[str]:
        """The parameter groups that the next gradient step changes."""
        return list(learner.optimizers)

    def before_update(self, learner: Learner) -> None:  # noqa: B027 (most have nothing to do here)
        """Called before the first gradient step of an iteration, on all ranks."""

    def last_values(self, actor: Policy, episodes: Sequence[Episode]) -> np.ndarray:
        """(N,) the critic's value of what each episode ended at; 0 where it is not needed."""
        values = np.zeros(len(episodes))
        asked = [i for i, e in enumerate(episodes) if e.last_observation is not None]
        for first in range(0, len(asked) if self.estimator.needs_last_values else 0, VALUE_BATCH):
            part = asked[first : first + VALUE_BATCH]
            seeds = [entropy(Word.BOOTSTRAP, self.seed, self.iteration, episodes[i].episode_id) for i in part]
            generators = [torch_generator(seed) for seed in seeds]
            shape = (actor.chunk_size, PADDED_DIM)
            noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
            seen = collate_observations([episodes[i].last_observation for i in part])  # type: ignore[misc]
            value = actor.act(seen, noise, generators).value
            assert value is not None
            values[part] = value.float().cpu().numpy()
        return values

    def update(self, learner: Learner, num_windows: int) -> dict[str, float]:
        """Gradient steps on the windows of all ranks. A rank without windows takes part with zero gradients."""
        model = learner.policy.model
        self.before_update(learner)
        model.train()  # dropout of adapters and checkpointing of the vision tower; nothing else depends on it
        encode = self._start_encoding()
        loss = self.loss if encode is None else partial(self.loss, encode=encode)
        totals: dict[str, float] = defaultdict(float)
        steps = 0
        for epoch in range(self.num_epochs):
            batches = self.mini_batches(epoch)
            for batch, seed in progress_bar(batches, desc=f"updates, epoch {epoch + 1}", **self._bar):
                terms = [*self.terms(batch, loss), *self.terms_beside(batch, seed, encode)]
                sums = learner.step(terms, seed, self.groups(learner))
                for name, value in sums.items():
                    totals[name] += value
                self._add_epoch(totals, sums, epoch, is_first=not steps)
                steps += 1
                self.steps += 1
        model.eval()
        losses = {**self.losses, **self.beside.losses}
        metrics = update_metrics(self.distributed, totals, num_windows, steps, losses)
        return metrics | self.beside.metrics(metrics, own=self.losses["total"])

    def mini_batches(self, epoch: int) -> Iterator[tuple[Batch, Seed]]:
        """This rank's share of each gradient step of an epoch, and the step's seed; the same again when asked again."""
        seed = (self.seed, self.iteration, epoch)
        for step, batch in enumerate(self.storage.mini_batches(seed)):
            yield self.augmentation.batch(batch, (*seed, step)), (*seed, step)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to draw the same numbers."""
        generator = self.rollout_generator.state_dict()
        return {"iteration": self.iteration, "steps": self.steps, "rollout_generator": generator}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]
        self.steps = state.get("steps", 0)  # CFG-Flow's did not count them, and does not need them
        self.rollout_generator.load_state_dict(state["rollout_generator"])

    def save_arrays(self, folder: Path) -> None:
        """Writes this rank's windows that will be replayed into the folder, which all ranks share, and what its groups
        will be played with, if that is not the newest."""
        self.storage.save(folder / f"replay_{self.distributed.rank}.safetensors")
        self.rollout_generator.group_source.save(folder)

    def load_arrays(self, folder: Path) -> None:
        """Restores both. Raises ValueError naming a damaged file."""
        paths = sorted(folder.glob("replay_*.safetensors"), key=lambda path: int(path.stem.removeprefix("replay_")))
        if paths:
            self.storage.load(paths)
        self.rollout_generator.group_source.load(folder)

    @property
    def _bar(self) -> dict[str, Any]:
        return {"disable": not self.use_tqdm, "leave": False}

    def _start_encoding(self) -> Callable[..., Any] | None:
        """What encodes this iteration's windows; None encodes each time."""
        if self.prefix_store is None:
            return None
        self.prefix_store.clear()
        return self.prefix_store.encode

    def _add_epoch(self, totals: dict[str, float], sums: Mapping[str, float], epoch: int, is_first: bool) -> None:
        """Keeps the losses of the first step, of the first and of the last epoch apart, where there are several."""
        parts = [("first_epoch", epoch == 0), ("last_epoch", epoch == self.num_epochs - 1)]
        parts = [*(parts if self.num_epochs > 1 else []), ("first_step", is_first)]
        for part in (name for name, is_here in parts if is_here):
            for name in [name for name in sums if name.endswith(("_sum", "_count"))]:
                totals[f"{part}/{name}"] += sums[name]
