"""The offline start: the first iterations learn from episodes that were saved before, in place of rollouts."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ript.algos.advantages import logged_advantages
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.advantage_estimator import AdvantageEstimator, Estimate
from ript.algos.rl_optimizers.metrics import ratio
from ript.algos.rl_optimizers.offline_checks import check_episode
from ript.algos.rl_optimizers.reflow import Reflow
from ript.checks import whole_number
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.progress import progress_bar
from ript.storage.demonstrated import FIRST_LOGGED
from ript.storage.episode_files import SavedEpisode, find_episodes, read_episode
from ript.storage.windows import WindowCutter

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Logged:
    """What is known of a file without its images."""

    path: Path
    task: str
    task_id: int
    scene: str
    score: float
    success: bool


class OfflineStart:
    """Logged episodes and what each was worth; every rank knows all of them and learns from its share.

    Args:
        runner, policy, cutter: the episodes must be of the runner's tasks, normalised by the policy's statistics, seen
            through its cameras, and observed where windows start.
        estimator: `rloo` compares the episodes of one scene, or with the task's mean (`logged_advantages`); `none` is
            the score itself.
        reward_function: scores them anew; `batch` is `{"task_id": [id]}` alone, and `i` is 0.
        reflow, run_dir: only to refuse what needs decisions, which are not saved, and the run's own folder.
        offline_episodes: files of saved episodes, or folders of an evaluation or a run; one or several.
        offline_steps: iterations that learn from them.

    Raises FileNotFoundError or ValueError naming file and key.
    """

    def __init__(
        self,
        runner: Any,
        policy: PI0_OFT_Policy,
        cutter: WindowCutter,
        estimator: AdvantageEstimator,
        reward_function: Any,
        offline_episodes: str | Sequence[str],
        offline_steps: int = 1,
        reflow: Reflow | None = None,
        run_dir: str | None = None,
        use_tqdm: bool = True,
        distributed: Distributed | None = None,
    ):
        whole_number("offline_steps", offline_steps, 1)
        if estimator.advantage not in ("rloo", "none"):
            raise ValueError(f"advantage={estimator.advantage} is not valid with offline_episodes: rloo or none is")
        if reflow is not None and reflow.weight:
            raise ValueError("rfc_enabled=true is not valid with offline_episodes: the noise of decisions is not saved")
        self.offline_steps = offline_steps
        self.estimator, self.distributed = estimator, distributed or Distributed()
        self._logged: list[_Logged] = []
        hidden = not (use_tqdm and self.distributed.is_main)
        own = None if run_dir is None else Path(run_dir).expanduser().resolve()
        for path in progress_bar(find_episodes(offline_episodes), desc="logged episodes", disable=hidden):
            if own is not None and path.resolve().is_relative_to(own):
                raise ValueError(f"{path}: offline_episodes is this run's own folder; choose another paths.run_name")
            saved = read_episode(path)
            check_episode(saved, runner, policy, cutter)
            self._logged.append(_entry(saved, runner, reward_function))
        self._report()

    @property
    def advantages(self) -> np.ndarray:
        """(N,) of all logged episodes, in the order of their files."""
        scores = np.array([entry.score for entry in self._logged])
        if self.estimator.advantage == "none":
            return scores
        entries = self._logged
        return logged_advantages(scores, [entry.task for entry in entries], [entry.scene for entry in entries])

    def collect(self) -> tuple[list[Episode], Estimate, dict[str, float]]:
        """This rank's share of the episodes, their advantages, and metrics over all ranks. A collective."""
        own = range(self.distributed.rank, len(self._logged), self.distributed.world_size)
        episodes = [self._episode(number) for number in own]
        estimate = self.estimator.of_advantages(episodes, self.advantages[own.start :: own.step], self.distributed)
        worth = np.array([advantages.mean() for advantages in estimate.advantages])
        scores = float(sum(episode.score for episode in episodes))
        sums = {"advantage": float(worth.sum()), "non_zero": float(np.count_nonzero(worth))}
        total = self.distributed.sum({**sums, "count": float(len(episodes)), "score": scores})
        metrics = {"rollouts_learned_from": total["count"]}
        names = {"mean_scores": "score", "mean_advantage": "advantage", "non_zero_adv_ratio": "non_zero"}
        for name, key in names.items():
            metrics |= ratio(name, total[key], total["count"])
        return episodes, estimate, metrics

    def _episode(self, number: int) -> Episode:
        entry = self._logged[number]
        episode = read_episode(entry.path).episode
        return replace(episode, task_id=entry.task_id, score=entry.score, episode_id=FIRST_LOGGED + number)

    def _report(self) -> None:
        scenes = Counter((entry.task, entry.scene) for entry in self._logged)
        grouped = sum(count for count in scenes.values() if count > 1)
        logger.info(
            "offline start: %d logged episodes of %d tasks, %d successes; %d have siblings from the same scene, %d are "
            "compared with their task's mean; %d did better than expected",
            len(self._logged),
            len({task for task, _ in scenes}),
            sum(entry.success for entry in self._logged),
            grouped,
            len(self._logged) - grouped,
            (self.advantages > 0).sum(),
        )


def _entry(saved: SavedEpisode, runner: Any, reward_function: Any) -> _Logged:
    """Raises ValueError for a score that is not finite."""
    task_id, episode = runner.benchmark.get_task_id(saved.task), saved.episode
    score = float(reward_function.compute_reward(0, episode, {"task_id": [task_id]}))
    if not np.isfinite(score):
        raise ValueError(f"{saved.path}: the reward function gives {score}")
    return _Logged(saved.path, saved.task, task_id, episode.init_hash, score, episode.success)
