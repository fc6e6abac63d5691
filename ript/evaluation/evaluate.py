"""From the command line to an evaluation's folder: check, play what is missing, film, summarize."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.contexts import LAYOUT_SEED
from ript.checks import in_range, one_of
from ript.env_runner.episode import Episode
from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import select_tasks
from ript.env_vars import EnvSettings
from ript.evaluation.episode_log import EpisodeLog, EpisodeRecord, select
from ript.evaluation.evaluated_policy import identify_policy, load_policy
from ript.evaluation.films import film_task
from ript.evaluation.protocol import EPISODES, EVALUATION, Plan, Protocol, Setting, open_evaluation
from ript.evaluation.summary import write_summary
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.progress import progress_bar
from ript.simulators.suite_runner import SuiteRunner

logger = logging.getLogger(__name__)

_PACKAGES = ("ript-pi0", "torch")


@dataclass(frozen=True)
class Evaluation:
    """An evaluation whose options have been found good."""

    runner: Runner
    policy: PI0_OFT_Policy
    protocol: Protocol
    tasks: list[str]
    settings: list[Setting]
    episodes: int
    """Per task and setting."""
    videos: int
    """Per task."""
    folder: Path

    @property
    def plan(self) -> Plan:
        """What this command asks for."""
        return {setting: dict.fromkeys(self.tasks, self.episodes) for setting in self.settings}


def prepare(options: argparse.Namespace) -> Evaluation:
    """Loads the policy and checks what needs it; nothing is written. Raises ValueError or OSError for bad input."""
    episodes = EPISODES if options.episodes is None else options.episodes
    one_of("condition_mode", options.condition_mode, CONDITION_MODES)
    in_range("seed", options.seed, 0, LAYOUT_SEED - episodes)
    runner = SuiteRunner(
        options.suite,
        num_parallel_envs=min(options.workers, episodes),
        max_episode_length=options.max_steps,
        num_steps_wait=options.wait_steps,
        open_loop=options.open_loop,
        seed=options.seed,
        settings=EnvSettings(render_source="render"),
    )
    tasks = select_tasks(runner.benchmark, options.tasks)
    if options.standard:
        check_standard(runner, tasks, episodes)
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"out={str(options.out)!r} is not valid: it is a file")
    torch.set_num_threads(options.threads)
    policy = load_policy(options)
    runner.check_policy(policy)
    runner.image_size = options.image_size or policy.image_size
    protocol = Protocol(
        policy=identify_policy(policy, options),
        suite=options.suite,
        seed=options.seed,
        max_steps=runner.max_episode_length,
        wait_steps=runner.num_steps_wait,
        open_loop=options.open_loop or policy.open_loop,
        image_size=runner.image_size,
        device=policy.device.type,
        versions={package: version(package) for package in (*_PACKAGES, *runner.simulator.packages)},
    )
    names = runner.benchmark.get_task_names()
    grid = dict.fromkeys(Setting(steps, scale) for steps in options.denoise_steps for scale in options.cfg_scale)
    return Evaluation(
        runner, policy, protocol, [names[i] for i in tasks], list(grid), episodes, options.videos, options.out
    )


def check_standard(runner: Runner, tasks: Sequence[int], episodes: int) -> None:
    """Raises ValueError unless this is the suite's standard protocol."""
    standard = runner.benchmark.max_episode_length
    for name, value, wanted in (
        ("episodes", episodes, EPISODES),
        ("max_steps", runner.max_episode_length, standard),
        ("wait_steps", runner.num_steps_wait, runner.benchmark.num_steps_wait),
        ("tasks", list(tasks), select_tasks(runner.benchmark, None)),
    ):
        if value != wanted:
            raise ValueError(f"{name}={value} is not valid with --standard, which is {name}={wanted}")


def open_log(evaluation: Evaluation) -> tuple[EpisodeLog, Setting]:
    """The folder's log, open, and the first setting it was ever asked for. Raises ValueError or OSError."""
    folder = evaluation.folder
    folder.mkdir(parents=True, exist_ok=True)
    log = EpisodeLog(folder)
    try:
        if log.records and not (folder / EVALUATION).exists():
            raise ValueError(f"{folder} has episodes but no {EVALUATION}")
        return log, next(iter(open_evaluation(folder, evaluation.protocol, evaluation.plan)))
    except BaseException:
        log.close()
        raise


def play(evaluation: Evaluation, log: EpisodeLog, filmed: Setting) -> None:
    """Plays and records what the log lacks, task by task, then films the task under the setting `filmed`."""
    wanted = {
        (task, setting): log.missing(setting, task, evaluation.episodes)
        for task in evaluation.tasks
        for setting in evaluation.settings
    }
    total = len(wanted) * evaluation.episodes
    done = total - sum(map(len, wanted.values()))
    bar = progress_bar(total=total, initial=done, desc=evaluation.protocol.suite, unit="episode")
    try:
        with logging_redirect_tqdm(), bar:
            for task in evaluation.tasks:
                for setting in evaluation.settings:
                    _play_setting(evaluation, log, task, setting, wanted[task, setting], bar)
                records = select(log.records, filmed, task)
                film_task(
                    evaluation.runner, evaluation.policy, filmed, task, records, evaluation.folder, evaluation.videos
                )
    finally:
        evaluation.runner.close()


def summarize(folder: Path) -> None:
    """Writes the summary and logs its first table."""
    for result in write_summary(folder):
        counts = result.overall
        low, high = 100 * counts.success_rate_low, 100 * counts.success_rate_high
        line = f"{counts.successes}/{counts.episodes} (95 % interval {low:.1f} to {high:.1f} %)"
        if not counts.episodes:
            line = "nothing was played"
        logger.info("%s: %s%s", result.setting, line, f", {result.missing} missing" if result.missing else "")
    logger.info("summary.html, summary.md and summary.json are in %s", folder)


def _play_setting(
    evaluation: Evaluation, log: EpisodeLog, task: str, setting: Setting, indices: list[int], bar: tqdm
) -> None:
    runner, policy = evaluation.runner, evaluation.policy
    policy.num_steps = setting.denoise_steps
    for index, episode in runner.play_evaluation(task, policy, indices, setting.cfg_scale):
        log.append(_record(runner, setting, task, index, episode))
        successes = sum(record.success for record in log.records)
        bar.update()
        bar.set_postfix(success=f"{successes}/{len(log.records)}")


def _record(runner: Runner, setting: Setting, task: str, index: int, episode: Episode) -> EpisodeRecord:
    scene_seed, state_index = runner.evaluation_scene(episode.task_id, index)
    return EpisodeRecord(
        denoise_steps=setting.denoise_steps,
        cfg_scale=setting.cfg_scale,
        task=task,
        task_id=episode.task_id,
        index=index,
        state_index=state_index,
        scene_seed=scene_seed,
        success=bool(episode.success),
        length=episode.length,
        seconds=round(episode.seconds, 3),
        scene_hash=episode.init_hash,
    )
