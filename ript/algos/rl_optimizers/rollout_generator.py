"""Groups of rollouts for the optimizer: K of one context, in one scene."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from ript.algos.reward_functions.success import SuccessReward
from ript.algos.rl_optimizers.contexts import Context, ContextLoader, split_contexts
from ript.algos.rl_optimizers.group_source import GroupRequest, GroupSource, LocalGroups
from ript.algos.rl_optimizers.group_trials import GroupTrials, Trial
from ript.algos.rl_optimizers.offers import Offer, Offers
from ript.algos.rl_optimizers.rollout_stats import RolloutStats
from ript.checks import in_range, whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.env_runner.failure import MOST_IN_A_ROW, EnvironmentFailure
from ript.env_runner.vec_env import Tasks, task_ids
from ript.progress import progress_bar
from ript.results.videos import TRAINING, VIDEOS, Film, step_folder

logger = logging.getLogger(__name__)


class RolloutGenerator:
    """Collects `demo_batch_size` groups of `rloo_batch_size` rollouts per rank and step.

    Args:
        env_runner: a runner with `create_env`, `run_policy_in_env`, `close`, `benchmark` (see `Runner`).
        rloo_batch_size: K, rollouts per group.
        demo_batch_size: groups per step and rank.
        enable_dynamic_sampling: drop groups whose rewards are all equal, and draw further contexts instead.
        max_groups_per_step: the bound of that: groups tried per step and rank; None is 4 · `demo_batch_size`.
        early_stop_percentage: stop once this share of the groups of all ranks has been accepted. Ranks then count after
            every group, so the result is reproducible; the price is that each waits for the slowest group of a round.
            RIPT stops in the middle of a round, to spare that wait: what it learns from depends on speed, and short
            successful episodes are favoured.
        use_val_init: start from the benchmark's evaluation states instead of the batch's contexts.
        mix_val_init_in_rloo: with `use_val_init`, do so for every other context of each task only.
        rollout_stats_path: JSON file of successes and tries per scene, read at the start and written each step.
        enable_rollout_stats_tracking: keep those statistics.
        task_names_to_use: leave out contexts of other tasks, given by name or id; None uses all.
        seed: seeds the policy's noise, one stream per rollout.
        video_interval: every so many iterations, the first group that rank 0 plays is filmed (the runner's
            `save_video`); None films none.
        video_dir: where to, in a folder per iteration.
        group_source: who plays the groups; None is the runner, in this process.
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
        task_names_to_use: Tasks = None,
        seed: int = 0,
        distributed: Distributed | None = None,
        video_interval: int | None = None,
        video_dir: str = VIDEOS,
        group_source: GroupSource | None = None,
    ):
        whole_number("video_interval", video_interval, 1)
        whole_number("rloo_batch_size", rloo_batch_size, 1)
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
        self.group_source: GroupSource = group_source or LocalGroups(env_runner)
        self.rloo_batch_size = rloo_batch_size
        self.demo_batch_size = demo_batch_size
        self.early_stop_percentage = early_stop_percentage
        self.enable_dynamic_sampling = enable_dynamic_sampling
        self.max_groups_per_step = max_groups_per_step or 4 * demo_batch_size
        self.use_val_init = use_val_init
        self.mix_val_init_in_rloo = mix_val_init_in_rloo
        self.seed = seed
        self.video_interval = video_interval
        self.video_dir = Path(video_dir)
        self.distributed = distributed or Distributed()
        self.use_tqdm = use_tqdm and self.distributed.is_main
        self.task_ids = task_ids(env_runner.benchmark, task_names_to_use)
        tracked = rollout_stats_path if enable_rollout_stats_tracking else None
        self.rollout_stats = RolloutStats(None if tracked is None else Path(tracked), self.distributed)
        self.iteration = 0

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
        reward_function: Any = None,
    ) -> tuple[list[Episode], list[int], np.ndarray, int]:
        """Rolls out the contexts of `batch`, then of further batches while groups are dropped.

        `reward_function.compute_reward(row, episode, batch)` scores each rollout, with its context's own batch and row;
        None takes the success. A `ContextLoader` as `dataloader` gets back what was not played.

        Returns `(episodes, task_ids, valid_mask, samples_checked)`: whole groups of K episodes one after the other,
        the task of each, (N,) bool False for the groups that dynamic sampling dropped (kept so that success rates
        count every rollout), and how many contexts were tried. It may hold fewer groups than asked for, or none.

        A group in which the simulator fails, or gives numbers that are not finite, is dropped without a trace and
        another context takes its place. Raises EnvironmentFailure, on all ranks, when more than `MOST_IN_A_ROW` fail in
        a row on any; the loader is then where it was before.
        """
        offers = Offers(self._batches(batch, data_iterator, dataloader), self.task_ids)
        self.group_source.act_with(model, self.iteration)
        names = self.env_runner.benchmark.get_task_names()
        trials = GroupTrials(self.group_source, names, reward_function or SuccessReward(), self._save_videos)
        episodes, accepted = self._rollout_groups(offers, trials)
        self._end_if_broken(trials, offers, dataloader)
        self.iteration += 1
        self.rollout_stats.update(episodes)
        if isinstance(dataloader, ContextLoader):
            dataloader.put_back(offer.context for offer in offers.left)
            dataloader.settle()
        valid_mask = np.repeat(np.asarray(accepted, bool), self.rloo_batch_size)
        return episodes, [episode.task_id for episode in episodes], valid_mask, len(accepted)

    def begin_next(self, model: Any, dataloader: Any) -> None:
        """With staleness: `model` as it is now will play the next iteration's groups, and its workers may begin.

        Call it after `generate_rollouts` and before the weights change.
        """
        if not self.group_source.staleness:
            return
        self.group_source.act_with(model, self.iteration)
        if isinstance(dataloader, ContextLoader):
            offers = Offers(iter([dataloader.upcoming()]), self.task_ids)
            if not offers.are_used_up:
                upcoming = self._trials(offers.take(self._together([])), self._is_filmed)
                self.group_source.expect([trial.request for trial in upcoming])

    def _rollout_groups(self, offers: Offers, trials: GroupTrials) -> tuple[list[Episode], list[bool]]:
        """The episodes of the groups that were tried, and which groups were accepted."""
        episodes: list[Episode] = []
        accepted: list[bool] = []
        with progress_bar(total=self.demo_batch_size, desc="groups", disable=not self.use_tqdm, leave=False) as bar:
            while True:
                done = trials.is_broken or self._is_done(accepted, offers)
                if self._all_done(done, sum(accepted)):
                    break
                if done:
                    continue  # the other ranks still play; this one takes part in their counting
                film = not accepted and self._is_filmed
                for group in trials.play_all(self._trials(offers.take(self._together(accepted)), film)):
                    accepted.append(not self.enable_dynamic_sampling or _is_mixed(group))
                    episodes += group
                    bar.update(accepted[-1])
                    bar.set_postfix(tried=len(accepted), success=f"{np.mean([e.success for e in episodes]):.2f}")
        self._report(accepted, offers)
        return episodes, accepted

    def skip_iteration(self, batch: Mapping[str, Any], dataloader: Iterable[Mapping[str, Any]] | None) -> None:
        """An iteration without rollouts; a `ContextLoader` gets its contexts back. A collective."""
        self.iteration += 1
        if isinstance(dataloader, ContextLoader):
            dataloader.put_back(split_contexts(batch))
            dataloader.settle()

    def state_dict(self) -> dict[str, int]:
        """What a resumed run needs to draw the same noise."""
        return {"iteration": self.iteration}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from a saved iteration."""
        self.iteration = state["iteration"]

    def _is_done(self, accepted: list[bool], offers: Offers) -> bool:
        """This rank has what it wants, or may or can try no more."""
        enough = sum(accepted) >= self.demo_batch_size or len(accepted) >= self.max_groups_per_step
        return enough or offers.are_used_up

    @property
    def _is_filmed(self) -> bool:
        """Whether this iteration's first group is; the iteration is counted from 1."""
        due = self.video_interval is not None and (self.iteration + 1) % self.video_interval == 0
        return due and self.distributed.is_main

    def _together(self, accepted: list[bool]) -> int:
        """How many groups are played at the same time: as many as are needed for certain, and so none in vain.

        With an early stop one, since ranks count together after every group.
        """
        if self.early_stop_percentage < 1:
            return 1
        return min(self.demo_batch_size - sum(accepted), self.max_groups_per_step - len(accepted))

    def _trials(self, offers: Sequence[Offer], film: bool) -> list[Trial]:
        """The offers in a row that are of one task are played together. `film`: the first group."""
        trials: list[Trial] = []
        for _, row in groupby(offers, key=lambda offer: offer.context.task_id):
            own = list(row)
            contexts = tuple(self._with_val_init(offer.context) for offer in own)
            filmed = film and not trials
            trials.append(Trial(GroupRequest(contexts, self.rloo_batch_size, self.iteration, self.seed, filmed), own))
        return trials

    def _end_if_broken(self, trials: GroupTrials, offers: Offers, dataloader: Any) -> None:
        """Raises EnvironmentFailure on all ranks if one of them is broken. A collective."""
        own = trials.failures[-1] if trials.is_broken else None
        found = self.distributed.gather(None if own is None else own.brief)
        if not any(found):
            return
        if isinstance(dataloader, ContextLoader):
            dataloader.put_back(offer.context for offer in (*offers.taken, *offers.left))
            dataloader.settle()
        rank, brief = next((rank, brief) for rank, brief in enumerate(found) if brief)
        failure = EnvironmentFailure(f"rank {rank}: {MOST_IN_A_ROW + 1} groups in a row failed, the last: {brief}")
        failure.arrays = {} if own is None else own.arrays
        raise failure from own

    def _all_done(self, done: bool, accepted: int) -> bool:
        """Whether this rank stops. With an early stop, ranks count together after every group: a collective.

        So all ranks finish the group that they began, and it does not matter which of them is faster.
        """
        if self.early_stop_percentage == 1:
            return done
        total = self.distributed.sum({"accepted": accepted, "playing": not done})
        return total["accepted"] >= self.early_stop_threshold or not total["playing"]

    def _report(self, accepted: list[bool], offers: Offers) -> None:
        """Says why there are fewer groups than asked for."""
        tried, found, wanted = len(accepted), sum(accepted), self.demo_batch_size
        if found >= wanted:
            return
        if tried >= self.max_groups_per_step:
            logger.warning(
                "max_groups_per_step: %d groups tried, %d of %d accepted, in the others all rewards were equal",
                tried,
                found,
                wanted,
            )
        elif offers.are_used_up:
            logger.warning("the contexts are used up: %d of %d groups", found, wanted)

    def _batches(
        self,
        batch: Mapping[str, Any],
        data_iterator: Iterator[Mapping[str, Any]] | None,
        dataloader: Iterable[Mapping[str, Any]] | None,
    ) -> Iterator[Mapping[str, Any]]:
        """The batch, the iterator's next batches, and those of the loader from its start, while it has any."""
        yield batch
        for further in data_iterator or ():  # not `yield from`, which would close the iterator with this one
            yield further
        while dataloader is not None:
            empty = True
            for further in dataloader:
                empty = False
                yield further
            if empty:
                return

    def _with_val_init(self, context: Context) -> Context:
        """The context, started from one of the benchmark's evaluation states where that was asked for.

        A task goes through its states visit by visit; with `mix_val_init_in_rloo` on every other visit.
        """
        if not self.use_val_init or (self.mix_val_init_in_rloo and context.visit % 2):
            return context
        number = context.visit // 2 if self.mix_val_init_in_rloo else context.visit
        states = self.env_runner.benchmark.get_task_init_states(context.task_id)
        return replace(context, init_state=np.asarray(states[number % len(states)], np.float64))

    def _save_videos(self, task_name: str, group: Sequence[Episode]) -> None:
        folder = self.video_dir / step_folder(self.iteration + 1) / TRAINING
        for member, episode in enumerate(group):
            self.env_runner.save_video(folder, Film(task_name, member, episode.success), episode)


def _is_mixed(group: list[Episode]) -> bool:
    """The rewards differ: the advantages are not all zero."""
    return len({episode.score for episode in group}) > 1
