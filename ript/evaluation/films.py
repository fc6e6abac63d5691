"""Videos of evaluated episodes: played again, since an episode is determined by its seeds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.evaluation.episode_log import EpisodeRecord
from ript.evaluation.protocol import Setting
from ript.results.videos import VIDEOS, Film, films_in

logger = logging.getLogger(__name__)


def find_films(folder: Path, tasks: Sequence[str]) -> list[Film]:
    """The films in an evaluation's folder: by task, failures first."""
    found = [film for film in films_in(folder / VIDEOS) if film.task in tasks]
    return sorted(found, key=lambda film: (tasks.index(film.task), film.success, film.index))


def choose(records: Sequence[EpisodeRecord], number: int) -> list[EpisodeRecord]:
    """At most so many of a task's episodes: failures first, then successes."""
    return sorted(records, key=lambda record: (record.success, record.index))[:number]


def film_task(
    runner: Any,
    policy: PI0_OFT_Policy,
    setting: Setting,
    task: str,
    records: Sequence[EpisodeRecord],
    folder: Path,
    number: int,
) -> None:
    """Films up to `number` of the task's episodes, without those that have a film already."""
    filmed = {film.index for film in find_films(folder, [task])}
    due = {record.index: record for record in choose(records, number) if record.index not in filmed}
    policy.num_steps = setting.denoise_steps
    for index, episode in runner.play_evaluation(task, policy, list(due), setting.cfg_scale, film=due):
        film = Film(task, index, episode.success)
        path = runner.save_video(folder / VIDEOS, film, episode)
        if path is None:
            logger.warning("no video of %s: %d steps are too few for a frame", film.name, episode.length)
        elif episode.success != due[index].success:
            logger.warning(
                "%s: this time it was a %s; the counts keep what was played first", path, film.name.rpartition("_")[2]
            )
