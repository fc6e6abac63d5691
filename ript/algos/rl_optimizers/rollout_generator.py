"""Groups of rollouts for the optimizer: K of one context, in one scene."""

import json
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ript.algos.rl_optimizers.contexts import Context, split_contexts
from ript.algos.rl_optimizers.file_counter import cleanup_counter, make_counter, reset_global_counter
from ript.checks import in_range, whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.json_files import read_json

logger = logging.getLogger(__name__)


class RolloutGenerator:
    """Collects `demo_batch_size` groups of `rloo_batch_size` rollouts per rank and step.

    Args:
        env_runner: a runner with `create_env`, `run_policy_in_env`, `benchmark` (see `Pi0LiberoRunner`).
        rloo_batch_size: K, rollouts per group.
        demo_batch_size: groups per step and rank.
        enable_dynamic_sampling: drop groups whose rollouts all ended alike, and draw further contexts instead.
        max_groups_per_step: the bound of that: groups tried per step and rank; None is 4 · `demo_batch_size`.
        early_stop_percentage: stop once this share of the groups of all ranks has been accepted.
        use_val_init: start from the benchmark's evaluation states instead of the batch's contexts.
        mix_val_init_in_rloo: with `use_val_init`, do so for every other context only.
        rollout_stats_path: JSON file of successes and tries per scene, read at the start and written each step.
        enable_rollout_stats_tracking: keep those statistics.
        task_names_to_use: leave out contexts of other tasks; None uses all.
        seed: seeds the policy's noise, one stream per rollout.
    """

    def __init__(
        self,
        env_runner: Any,
        rloo_batch_size: int = 8,
        demo_batch_size: int = 4,
        use_tqdm: bool = True,
        early_stop_percentage: float = 1.0,
        enable_dynamic_sampling: bool = True,
        max_groups_per_step: int | None = None,
        use_val_init: bool = False,
        mix_val_init_in_rloo: bool = False,
        rollout_stats_path: str | None = None,
        enable_rollout_stats_tracking: bool = False,
        task_names_to_use: list[str] | None = None,
        seed: int = 0,
        distributed: Distributed | None = None,
    ):
        whole_number("rloo_batch_size", rloo_batch_size, 2)
        whole_number("demo_batch_size", demo_batch_size, 1)
        whole_number("max_groups_per_step", max_groups_per_step, 1)
        in_range("early_stop_percentage", early_stop_percentage, 0, 1)
        if max_groups_per_step is not None and max_groups_per_step < demo_batch_size:
            raise ValueError(f"max_groups_per_step {max_groups_per_step} is below demo_batch_size {demo_batch_size}")
        if mix_val_init_in_rloo and not use_val_init:
            raise ValueError("mix_val_init_in_rloo needs use_val_init=true")
        if enable_rollout_stats_tracking and rollout_stats_path is None:
            raise ValueError("enable_rollout_stats_tracking needs rollout_stats_path")
        self.env_runner = env_runner
        self.rloo_batch_size = rloo_batch_size
        self.demo_batch_size = demo_batch_size
        self.early_stop_percentage = early_stop_percentage
        self.enable_dynamic_sampling = enable_dynamic_sampling
        self.max_groups_per_step = max_groups_per_step or 4 * demo_batch_size
        self.use_val_init = use_val_init
        self.mix_val_init_in_rloo = mix_val_init_in_rloo
        tracked = rollout_stats_path if enable_rollout_stats_tracking else None
        self.rollout_stats_path = None if tracked is None else Path(tracked)
        self.seed = seed
        self.distributed = distributed or Distributed()
        self.use_tqdm = use_tqdm and self.distributed.is_main
        self.counter = make_counter(self.distributed)
        weakref.finalize(self, cleanup_counter, self.counter)
        names = env_runner.benchmark.get_task_names()
        self.task_ids = [env_runner.benchmark.get_task_id(name) for name in task_names_to_use or names]
        self.rollout_stats = _read_stats(self.rollout_stats_path)
        """Scene hash → [successes, tries], over all runs that shared the file."""
        self.iteration = 0
        self.acting: Callable[[], AbstractContextManager[None]] = nullcontext
        """The block in which the policy plays; within it, its weights may be their moving average."""

    @property
    def early_stop_threshold(self) -> int:
        """Accepted groups of all ranks at which collecting ends, at least 1."""
        wanted = self.demo_batch_size * self.distributed.world_size
        return max(1, int(wanted * self.early_stop_percentage))

    def generate_rollouts(
        self,
        model: Any,
        batch: Mapping[str, Any],
        data_iterator: Iterator[Mapping[str, Any]] | None = None,
        dataloader: Iterable[Mapping[str, Any]] | None = None,
    ) -> tuple[list[Episode], list[int], np.ndarray, int]:
        """Rolls out the contexts of `batch`, then of further batches while groups are dropped.

        Returns `(episodes, task_ids, valid_mask, samples_checked)`: whole groups of K episodes one after the other,
        the task of each, (N,) bool False for the groups that dynamic sampling dropped (kept so that success rates
        count every rollout), and how many contexts were tried. It may hold fewer groups than asked for, or none.
        """
        reset_global_counter(self.counter, self.distributed)
        with self.acting():
            episodes, accepted = self._rollout_groups(model, self._contexts(batch, data_iterator, dataloader))
        self.iteration += 1
        self._update_stats(episodes)
        valid_mask = np.repeat(np.asarray(accepted, bool), self.rloo_batch_size)
        return episodes, [episode.task_id for episode in episodes], valid_mask, len(accepted)

    def _rollout_groups(self, model: Any, contexts: Iterator[Context]) -> tuple[list[Episode], list[bool]]:
        """The episodes of the groups that were tried, and which groups were accepted."""
        episodes: list[Episode] = []
        accepted: list[bool] = []
        wanted = self.demo_batch_size
        with tqdm(total=wanted, desc="groups", disable=not self.use_tqdm, leave=False) as bar:
            while sum(accepted) < wanted and not self._should_stop(len(accepted), sum(accepted)):
                context = next(contexts, None)
                if context is None:
                    logger.warning("the contexts are used up: %d of %d groups", sum(accepted), wanted)
                    break
                group = self._rollout_group(model, context)
                accepted.append(not self.enable_dynamic_sampling or _is_mixed(group))
                episodes += group
                if accepted[-1]:
                    self.counter.update()
                    bar.update()
                bar.set_postfix(tried=len(accepted), success=f"{np.mean([e.success for e in episodes]):.2f}")
        return episodes, accepted

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs to draw the same noise."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]

    def _should_stop(self, tried: int, accepted: int) -> bool:
        if tried >= self.max_groups_per_step:
            logger.warning(
                "max_groups_per_step: %d groups tried, %d of %d accepted, the others all succeeded or all failed",
                tried,
                accepted,
                self.demo_batch_size,
            )
            return True
        return self.early_stop_percentage < 1 and self.counter.get() >= self.early_stop_threshold

    def _contexts(
        self,
        batch: Mapping[str, Any],
        data_iterator: Iterator[Mapping[str, Any]] | None,
        dataloader: Iterable[Mapping[str, Any]] | None,
    ) -> Iterator[Context]:
        """The contexts of the batch, of the iterator's next batches, and of the loader from its start."""
        yield from self._usable(batch)
        for further in data_iterator or ():
            yield from self._usable(further)
        while dataloader is not None:
            found = 0
            for further in dataloader:
                for context in self._usable(further):
                    found += 1
                    yield context
            if not found:
                return

    def _usable(self, batch: Mapping[str, Any]) -> Iterator[Context]:
        for context in split_contexts(batch):
            if context.task_id in self.task_ids:
                yield self._with_val_init(context)

    def _with_val_init(self, context: Context) -> Context:
        """The context, started from one of the benchmark's evaluation states where that was asked for."""
        if not self.use_val_init or (self.mix_val_init_in_rloo and context.context_id % 2):
            return context
        states = self.env_runner.benchmark.get_task_init_states(context.task_id)
        return replace(context, init_state=np.asarray(states[context.context_id % len(states)], np.float64))

    def _rollout_group(self, model: Any, context: Context) -> list[Episode]:
        size = self.rloo_batch_size
        task_name = self.env_runner.benchmark.get_task_names()[context.task_id]
        created_env = self.env_runner.create_env(task_name)
        rollouts = self.env_runner.run_policy_in_env(
            task_name,
            model,
            all_init_states=[context.init_state] * size,
            created_env=created_env,
            scene_seeds=[context.scene_seed] * size,
            noise_seeds=[(self.seed, self.iteration, context.context_id, member) for member in range(size)],
        )
        group = [episode for _, _, episode in rollouts]
        scenes = {episode.init_hash for episode in group}
        if len(group) != size or len(scenes) != 1:
            raise RuntimeError(f"group of {task_name}: {len(group)} of {size} rollouts in {len(scenes)} scenes")
        return group

    def _update_stats(self, episodes: list[Episode]) -> None:
        if self.rollout_stats_path is None:
            return
        for part in self.distributed.gather([(e.init_hash, e.success) for e in episodes]):
            for scene, success in part:
                entry = self.rollout_stats.setdefault(scene, [0, 0])
                entry[0] += success
                entry[1] += 1
        if self.distributed.is_main:
            temporary = self.rollout_stats_path.with_suffix(".tmp")
            temporary.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self.rollout_stats, indent=1))
            temporary.replace(self.rollout_stats_path)


def _is_mixed(group: list[Episode]) -> bool:
    """Some members solved the task and some did not: the advantages are not all zero."""
    return len({episode.success for episode in group}) > 1


def _read_stats(path: Path | None) -> dict[str, list[int]]:
    return {} if path is None or not path.is_file() else read_json(path)
