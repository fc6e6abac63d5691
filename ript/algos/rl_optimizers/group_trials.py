"""The groups that one rank tries in one iteration: played, checked, scored; what fails is dropped."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ript.algos.rl_optimizers.group_source import GroupRequest, GroupSource
from ript.algos.rl_optimizers.offers import Offer
from ript.env_runner.episode import Episode
from ript.env_runner.failure import MOST_IN_A_ROW, EnvironmentFailure, NotFinite

logger = logging.getLogger(__name__)

MOST_MEMBERS = 2**16
"""Bound of K: the ids of a context's episodes lie within this range."""


class Trial(NamedTuple):
    """Groups that are asked for together, and the offer of each."""

    request: GroupRequest
    offers: Sequence[Offer]

    def only(self, index: int) -> "Trial":
        """One of the groups, alone."""
        request, film = self.request, self.request.film and index == 0
        return Trial(replace(request, contexts=request.contexts[index : index + 1], film=film), [self.offers[index]])


class GroupTrials:
    """Plays trials and scores their episodes.

    Args:
        source: who plays.
        task_names: the benchmark's tasks, in the order of their ids.
        reward_function: has `compute_reward(i, episode, batch) -> float`.
        film: takes the task's name and a group that was filmed.
    """

    failures: list[EnvironmentFailure]
    """Those since the last group that was played to its end."""

    def __init__(
        self,
        source: GroupSource,
        task_names: Sequence[str],
        reward_function: Any,
        film: Callable[[str, Sequence[Episode]], None],
    ):
        self._source, self._task_names = source, task_names
        self._reward_function, self._film = reward_function, film
        self.failures = []

    @property
    def is_broken(self) -> bool:
        """More than `MOST_IN_A_ROW` groups failed in a row: nothing is tried any more."""
        return len(self.failures) > MOST_IN_A_ROW

    def play_all(self, trials: Sequence[Trial]) -> Iterator[list[Episode]]:
        """The groups of the trials, until too many have failed."""
        self._source.expect([trial.request for trial in trials])
        for trial in trials:
            if not self.is_broken:
                yield from self._play(trial)

    def _play(self, trial: Trial) -> Iterator[list[Episode]]:
        """The groups, each as soon as it is complete, in order, but for those in which the simulator failed.

        A simulator that failed is started anew. Of several groups none can be blamed: those that are left are played
        one by one.
        """
        done, count = 0, len(trial.offers)
        try:
            for played in self._source.play(trial.request):
                group = self._scored(trial, done, played)
                self.failures = []
                done += 1
                yield group
        except EnvironmentFailure as failure:
            self._source.recover()
            if count - done == 1:
                self.failures.append(failure)
                context_id = trial.offers[done].context.context_id
                logger.warning("context %d is dropped, another takes its place: %s", context_id, failure)
                return
            logger.warning("%d groups are played one by one: %s", count - done, failure)
        for index in range(done, count):
            if not self.is_broken:
                yield from self._play(trial.only(index))

    def _scored(self, trial: Trial, index: int, played: Sequence[Episode]) -> list[Episode]:
        """A group with ids and scores. Raises RuntimeError if it is not a group, NotFinite for such a score."""
        offer, size = trial.offers[index], trial.request.group_size
        task_name = self._task_names[offer.context.task_id]
        scenes = {episode.init_hash for episode in played}
        if len(played) != size or len(scenes) != 1:
            raise RuntimeError(f"group of {task_name}: {len(played)} of {size} rollouts in {len(scenes)} scenes")
        first = offer.context.context_id * MOST_MEMBERS
        group = [replace(episode, episode_id=first + member) for member, episode in enumerate(played)]
        scores = [float(self._reward_function.compute_reward(offer.row, episode, offer.batch)) for episode in group]
        if not np.isfinite(scores).all():
            raise NotFinite(f"a reward of {task_name} is not finite: {scores}", {"rewards": np.array(scores)})
        if trial.request.film and index == 0:
            self._film(task_name, group)
        return [replace(episode, score=score, frames=[]) for episode, score in zip(group, scores, strict=True)]
