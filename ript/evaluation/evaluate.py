"""From the command line to an evaluation's folder: check, play what is missing, film, summarize."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
from ript.evaluation.results import SettingResult
from ript.evaluation.side_by_side import SIDE_BY_SIDE, write_side_by_side
from ript.evaluation.summary import SUMMARY, write_summary
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.progress import progress_bar
from ript.simulators.suite_runner import SuiteRunner
from ript.storage.episode_files import EPISODE_FOLDER, write_episode

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
    save_episodes: bool
    """Keep every episode with its images."""
    folder: Path

    @property
    def plan(self) -> Plan:
        """What this command asks for."""
        return {setting: dict.fromkeys(self.tasks, self.episodes) for setting in self.settings}


def prepare(options: argparse.Namespace) -> list[Evaluation]:
    """Loads the policy and checks what needs it, for each suite; nothing is written. ValueError, OSError: bad input."""
    episodes = EPISODES if options.episodes is None else options.episodes
    one_of("condition_mode", options.condition_mode, CONDITION_MODES)
    in_range("seed", options.seed, 0, LAYOUT_SEED - episodes)
    if options.out.exists() and not options.out.is_dir():
        raise ValueError(f"out={str(options.out)!r} is not valid: it is a file")
    runners = {suite: _make_runner(suite, options, episodes) for suite in options.suite}
    tasks = {suite: select_tasks(runner.benchmark, options.tasks) for suite, runner in runners.items()}
    if options.standard:
        for suite, runner in runners.items():
            check_standard(runner, tasks[suite], episodes)
    torch.set_num_threads(options.threads)
    policy = load_policy(options)
    identity = identify_policy(policy, options)
    grid = list(dict.fromkeys(Setting(steps, scale) for steps in options.denoise_steps for scale in options.cfg_scale))
    evaluations = []
    for suite, runner in runners.items():
        runner.check_policy(policy)
        runner.image_size = options.image_size or policy.image_size
        names = runner.benchmark.get_task_names()
        evaluations.append(
            Evaluation(
                runner,
                policy,
                _protocol(suite, runner, policy, identity, options),
                [names[i] for i in tasks[suite]],
                grid,
                episodes,
                options.videos,
                options.save_episodes,
                options.out / suite if len(runners) > 1 else options.out,
            )
        )
    return evaluations


def _make_runner(suite: str, options: argparse.Namespace, episodes: int) -> Runner:
    return SuiteRunner(
        suite,
        num_parallel_envs=min(options.workers, episodes),
        max_episode_length=options.max_steps,
        num_steps_wait=options.wait_steps,
        open_loop=options.open_loop,
        observe_every=options.observe_every,
        seed=options.seed,
        settings=EnvSettings(render_source="render"),
        info_on_video=options.info_on_video,
    )


def _protocol(
    suite: str, runner: Runner, policy: PI0_OFT_Policy, identity: dict[str, Any], options: argparse.Namespace
) -> Protocol:
    return Protocol(
        policy=identity,
        suite=suite,
        seed=options.seed,
        max_steps=runner.max_episode_length,
        wait_steps=runner.num_steps_wait,
        open_loop=options.open_loop or policy.open_loop,
        image_size=runner.image_size,
        device=policy.device.type,
        versions={package: version(package) for package in (*_PACKAGES, *runner.simulator.packages)},
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
    _warn_of_unsaved(evaluation, log)
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


def summarize(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Writes each suite's summary, and the suites side by side into `folder`; logs the first table of each."""
    for evaluation in evaluations:
        for result in write_summary(evaluation.folder):
            logger.info("%s, %s", evaluation.protocol.suite, _brief(result))
    written = SUMMARY
    if len(evaluations) > 1:
        write_side_by_side(folder, [evaluation.protocol.suite for evaluation in evaluations])
        written = SIDE_BY_SIDE
    logger.info("%s.html, %s.md and %s.json are in %s", written, written, written, folder)


def _brief(result: SettingResult) -> str:
    counts = result.overall
    low, high = 100 * counts.success_rate_low, 100 * counts.success_rate_high
    line = f"{counts.successes}/{counts.episodes} (95 % interval {low:.1f} to {high:.1f} %)"
    if not counts.episodes:
        line = "nothing was played"
    return f"{result.setting}: {line}" + (f", {result.missing} missing" if result.missing else "")


def _play_setting(
    evaluation: Evaluation, log: EpisodeLog, task: str, setting: Setting, indices: list[int], bar: tqdm
) -> None:
    runner, policy, keep = evaluation.runner, evaluation.policy, evaluation.save_episodes
    policy.num_steps = setting.denoise_steps
    for index, episode in runner.play_evaluation(task, policy, indices, setting.cfg_scale, observe=keep):
        record = _record(runner, setting, task, index, episode)
        if keep:  # before its line: an episode that was killed between the two is played again
            path = _episode_file(evaluation.folder, record)
            write_episode(path, episode, evaluation.protocol.suite, task, policy.norm_stats)
        log.append(record)
        successes = sum(record.success for record in log.records)
        bar.update()
        bar.set_postfix(success=f"{successes}/{len(log.records)}")


def _episode_file(folder: Path, record: EpisodeRecord) -> Path:
    name = f"{record.index:04d}_denoise_{record.denoise_steps}_cfg_{record.cfg_scale:g}.safetensors"
    return folder / EPISODE_FOLDER / record.task / name


def _warn_of_unsaved(evaluation: Evaluation, log: EpisodeLog) -> None:
    """Episodes are not played again to be saved."""
    records = [r for r in log.records if r.setting in evaluation.settings and r.task in evaluation.tasks]
    unsaved = sum(not _episode_file(evaluation.folder, record).exists() for record in records)
    if evaluation.save_episodes and unsaved:
        logger.warning(
            "%d of %d episodes were played without --save-episodes: %s lacks them; another --out plays them again",
            unsaved,
            len(records),
            evaluation.folder / EPISODE_FOLDER,
        )


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
