"""Runs a policy on a simulator: one batched inference per chunk of executed steps."""

import logging
import math
from collections.abc import Callable, Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ript.checks import in_range, one_of, whole_number
from ript.env_runner.episode import Episode, Stride
from ript.env_runner.failure import MOST_IN_A_ROW, EnvironmentFailure
from ript.env_runner.player import FRAMES_EVERY, Player, PlayOptions
from ript.env_runner.policy import Policy
from ript.env_runner.rollout import RolloutStart
from ript.env_runner.vec_env import RENDERS, Adapter, MakePool, Render, Simulator, Tasks, VecEnv, task_ids
from ript.env_runner.workers import EnvPool
from ript.env_vars import EnvSettings
from ript.progress import progress_bar
from ript.results.success import Tally, summarize
from ript.results.videos import VIDEOS, Film, info, with_text, write_video
from ript.seeds import Word, entropy

logger = logging.getLogger(__name__)

FRAME_SIZE = 256
"""Side of video frames rendered for the eye (`PI0_RENDER_SOURCE=render`)."""


class Runner:
    """Rollouts of a policy on the tasks of one suite.

    Args:
        simulator: the suite.
        rollouts_per_env: evaluation rollouts per task.
        num_parallel_envs: environments that work at the same time.
        pipeline_stage_num: parts into which they are split: while the policy infers for one, the others execute.
        max_episode_length: steps after waiting; None is the suite's. A value given is never overwritten.
        task_names_to_use: tasks of `run`, by name or id, one or several; None is all of the suite.
        num_steps_wait: steps to let objects settle before the episode starts; None is the suite's.
        open_loop: executed steps per inference, at most the policy's chunk size; None is the policy's own.
        image_size: side of the camera images in pixels.
        window_stride: observations are recorded every so many steps, where training windows will start; None and
            `last` are where chunks start.
        cfg_scale: guidance scale; 1 is the positive branch alone.
        observe_every: of rollouts to learn from or to keep, observe this often too; must divide `open_loop`.
        observe_end: of rollouts to learn from, observe what an episode that ran out of time ended at.
        seed: seeds evaluation scenes and noise.
        settings: what the `PI0_*` environment variables ask for; they win over the arguments.
        info_on_video: write step, reward and success below the frames of videos.
        render: how images of rollouts to learn from are drawn; those of evaluations are exact.
    """

    def __init__(
        self,
        simulator: Simulator,
        rollouts_per_env: int = 50,
        num_parallel_envs: int = 2,
        max_episode_length: int | None = None,
        task_names_to_use: Tasks = None,
        num_steps_wait: int | None = None,
        open_loop: int | None = None,
        image_size: int = 256,
        window_stride: Stride = None,
        cfg_scale: float = 1.0,
        observe_every: int | None = None,
        observe_end: bool = False,
        seed: int = 0,
        settings: EnvSettings | None = None,
        info_on_video: bool = False,
        render: Render = "exact",
        pipeline_stage_num: int = 1,
    ):
        for key, value, low in (
            ("rollouts_per_env", rollouts_per_env, 1),
            ("num_parallel_envs", num_parallel_envs, 1),
            ("pipeline_stage_num", pipeline_stage_num, 1),
            ("max_episode_length", max_episode_length, 1),
            ("num_steps_wait", num_steps_wait, 0),
            ("open_loop", open_loop, 1),
            ("image_size", image_size, 1),
            ("observe_every", observe_every, 1),
        ):
            whole_number(key, value, low)
        if pipeline_stage_num not in range(1, num_parallel_envs + 1):
            stages, most = f"pipeline_stage_num={pipeline_stage_num}", f"num_parallel_envs={num_parallel_envs}"
            raise ValueError(f"{stages} is not valid: must be a whole number from 1 to {most}")
        in_range("cfg_scale", cfg_scale, 0)
        one_of("render", render, RENDERS)
        self.simulator = simulator
        self.benchmark = simulator.benchmark
        self.rollouts_per_env = rollouts_per_env
        self.num_parallel_envs = num_parallel_envs
        self.pipeline_stage_num = pipeline_stage_num
        self.max_episode_length: int = max_episode_length or self.benchmark.max_episode_length
        names = self.benchmark.get_task_names()
        self.task_names = [names[i] for i in task_ids(self.benchmark, task_names_to_use)]
        self.num_steps_wait: int = self.benchmark.num_steps_wait if num_steps_wait is None else num_steps_wait
        self.open_loop = open_loop
        self.image_size = image_size
        if window_stride != "last":
            whole_number("window_stride", window_stride, 1)
        self.window_stride: Stride = window_stride
        self.seed = seed
        self.settings = settings or EnvSettings()
        self.cfg_scale = cfg_scale
        self.observe_every = observe_every
        self.observe_end = observe_end
        self.info_on_video = info_on_video
        self.render = render
        self.make_pool: MakePool = EnvPool
        """Where environments run, from the next time that they are made."""
        self._created: tuple[str, Render, VecEnv] | None = None

    def adapter(self, policy: Policy) -> Adapter:
        """The simulator's conventions for this policy."""
        return self.simulator.make_adapter(policy.norm_stats, policy.card.delta_actions)

    def check_policy(self, policy: Policy) -> None:
        """Raises ValueError when `open_loop`, `window_stride` or `observe_every` do not go with the chunk size.

        Or when the simulator lacks a camera that the policy looks through, or is another robot's.
        """
        adapter, stats = self.adapter(policy), policy.norm_stats
        missing = [camera for camera in policy.card.cameras if camera not in adapter.cameras]
        if missing:
            raise ValueError(
                f"{self.benchmark.name} has no camera for the policy's {', '.join(missing)}; "
                f"to mask what is missing, set cameras to: {' '.join(adapter.cameras)}"
            )
        robot, trained = (adapter.state_dim, adapter.action_dim), (stats.state.width, stats.actions.width)
        if robot != trained:
            raise ValueError(
                f"{self.benchmark.name} has a state of {robot[0]} and actions of {robot[1]} numbers, the policy's "
                f"statistics are of {trained[0]} and {trained[1]}; set norm_stats_path to those of its demonstrations"
            )
        if self.open_loop is not None and self.open_loop > policy.chunk_size:
            raise ValueError(f"open_loop={self.open_loop} is above the policy's chunk of {policy.chunk_size} actions")
        self._observe_every(policy)
        policy.verbose = self.settings.verbose

    def create_env(self, task_name: str, render: Render | None = None) -> tuple[VecEnv, int, int]:
        """`(env, task_id, env_num)` for the task. The same environments serve one task after the other.

        They are made anew when images are to be drawn otherwise than the last time; None is the runner's way.
        """
        task_id = self.benchmark.get_task_id(task_name)
        render = render or self.render
        if self._created is not None and self._created[1] != render:
            self.close()
        if self._created is None or self._created[2].is_closed:  # it closes itself when a worker dies or hangs
            options = (task_id, self.num_parallel_envs, self.image_size, render, self.make_pool)
            pool = self.simulator.make_vec_env(*options)
            self._created = (task_name, render, pool)
        loaded, _, pool = self._created
        if loaded != task_name:
            self._load_task(pool, task_id)
            self._created = (task_name, render, pool)
        return pool, task_id, self.num_parallel_envs

    def _load_task(self, pool: VecEnv, task_id: int) -> None:
        """After an error the environments are closed: some may have loaded the task and others not."""
        try:
            pool.load_task(task_id)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the simulators."""
        if self._created is not None:
            self._created[2].close()
            self._created = None

    def run_policy_in_env(
        self,
        task_name: str,
        policy: Policy,
        all_init_states: Sequence[np.ndarray | None] | np.ndarray | None = None,
        render: bool | Sequence[bool] = False,
        created_env: tuple[VecEnv, int, int] | None = None,
        random_init: bool = False,
        scene_seeds: Sequence[int] | None = None,
        noise_seeds: Sequence[Sequence[int]] | None = None,
    ) -> Iterator[tuple[bool, float, Episode]]:
        """Yields `(success, total_reward, episode)`, one per rollout, in order, each with its own episode.

        Args:
            all_init_states: one flattened simulator state (D,) per rollout, None among them for a fresh layout; absent
                means `rollouts_per_env` of the benchmark's evaluation states.
            render: record video frames, of all rollouts or as said for each.
            created_env: what `create_env` gave.
            random_init: fresh layouts instead of evaluation states.
            scene_seeds: one per rollout; equal ones are the same scene.
            noise_seeds: one per rollout, for the policy's noise.
        """
        render_way: Render | None = "exact" if all_init_states is None else None
        pool, task_id, _ = created_env or self.create_env(task_name, render_way)
        if all_init_states is None:
            films = _for_each(render, self.rollouts_per_env)
            starts = [self._evaluation_start(task_id, i, film, random_init) for i, film in enumerate(films)]
        else:
            scene_seeds = scene_seeds or [self.seed] * len(all_init_states)
            counted = [entropy(Word.EVALUATION, self.seed, task_id, i) for i in range(len(all_init_states))]
            noise_seeds = noise_seeds or counted
            films = _for_each(render, len(all_init_states))
            rows = zip(scene_seeds, all_init_states, noise_seeds, films, strict=True)
            starts = [RolloutStart(*row) for row in rows]
        options = {"observe_every": self._observe_every(policy), "observe_end": self.observe_end}
        player = self._player(pool, task_id, policy, self.cfg_scale, **options)
        for episode in player.play(starts):
            yield episode.success, episode.total_reward, episode

    def run(
        self, policy: Policy, n_video: int = 0, do_tqdm: bool = False, cfg_scale: float | None = None
    ) -> dict[str, Any]:
        """Evaluates on the tasks of the runner: see `ript.results.success.summarize` for the result."""
        return summarize(self.evaluate(policy, n_video, do_tqdm, cfg_scale=cfg_scale))

    def evaluate(
        self,
        policy: Policy,
        n_video: int = 0,
        do_tqdm: bool = False,
        rank: int = 0,
        world_size: int = 1,
        cfg_scale: float | None = None,
        video_dir: str | Path = VIDEOS,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Tally]:
        """Task → tally of this rank's share of `rollouts_per_env` rollouts on evaluation states.

        The first `n_video` rollouts of each task are filmed (`PI0_N_VIDEO` wins), into `video_dir` (`PI0_VIDEO_DIR`
        wins). It is left when `stop()` says so after a rollout, or when the simulator fails again and again, which is
        an error in the log: the tallies say how many rollouts there were.
        """
        film = range(n_video if self.settings.n_video is None else self.settings.n_video)
        indices = range(rank, self.rollouts_per_env, world_size)
        tallies = dict.fromkeys(self.task_names, Tally())
        total = len(self.task_names) * len(indices)
        with progress_bar(total=total, desc="evaluation", unit="rollout", disable=not do_tqdm) as bar:
            try:
                for name, index, episode in self._play_tasks(policy, indices, cfg_scale, film):
                    tallies[name] = tallies[name].add(episode.success, episode.total_reward)
                    self.save_video(self.settings.video_dir or video_dir, Film(name, index, episode.success), episode)
                    bar.update()
                    done = sum(tallies.values(), Tally())
                    bar.set_postfix(success=f"{done.k}/{done.n}")
                    if stop():
                        break
            except EnvironmentFailure as failure:
                played = sum(tally.n for tally in tallies.values())
                logger.error("evaluation left after %d of %d rollouts: %s", played, total, failure)
        return tallies

    def _play_tasks(
        self, policy: Policy, indices: Sequence[int], cfg_scale: float | None, film: Container[int]
    ) -> Iterator[tuple[str, int, Episode]]:
        for name in self.task_names:
            for index, episode in self.play_evaluation(name, policy, indices, cfg_scale, film):
                yield name, index, episode

    def play_evaluation(
        self,
        task_name: str,
        policy: Policy,
        indices: Sequence[int],
        cfg_scale: float | None = None,
        film: Container[int] = (),
        observe: bool = False,
    ) -> Iterator[tuple[int, Episode]]:
        """Evaluation rollouts of one task: `(index, episode)` as each ends.

        When an environment fails, all are made anew and what was being played is played again, from the same start
        with the same noise: what breaks down now and then leaves no gap. Raises EnvironmentFailure when more than
        `MOST_IN_A_ROW` fail without an episode between them.

        Args:
            indices: which rollouts; see `evaluation_scene`.
            cfg_scale: guidance scale; None is the runner's.
            film: which of them record video frames.
            observe: observe within chunks as in rollouts to learn from, for episodes that are kept.
        """
        missing = list(indices)
        failures = 0
        while missing:
            try:
                rollouts = self._play_indices(task_name, policy, list(missing), cfg_scale, film, observe)
                for index, episode in rollouts:
                    failures = 0
                    missing.remove(index)
                    yield index, episode
            except EnvironmentFailure as failure:
                self.close()
                failures += 1
                if failures > MOST_IN_A_ROW:
                    raise
                logger.warning("%s: the simulators are started anew: %s", task_name, failure)

    def _play_indices(
        self,
        task_name: str,
        policy: Policy,
        indices: Sequence[int],
        cfg_scale: float | None,
        film: Container[int],
        observe: bool,
    ) -> Iterator[tuple[int, Episode]]:
        pool, task_id, _ = self.create_env(task_name, render="exact")
        every = self._observe_every(policy) if observe else None
        scale = self.cfg_scale if cfg_scale is None else cfg_scale
        player = self._player(pool, task_id, policy, scale, observe_every=every)
        starts = [self._evaluation_start(task_id, index, film=index in film) for index in indices]
        for place, episode in player.play_as_completed(starts):
            yield indices[place], episode

    def evaluation_scene(self, task_id: int, index: int) -> tuple[int, int]:
        """`(scene_seed, state_index)` of evaluation rollout `index`: the benchmark's states in turn."""
        return self.seed + index, index % len(self.benchmark.get_task_init_states(task_id))

    def _player(self, pool: VecEnv, task_id: int, policy: Policy, cfg_scale: float, **observing: Any) -> Player:
        self.check_policy(policy)
        options = PlayOptions(
            max_episode_length=self.max_episode_length,
            num_steps_wait=self.num_steps_wait,
            open_loop=self._open_loop(policy),
            **observing,
            cfg_scale=self.settings.guidance(cfg_scale),
            is_positive=self.settings.is_positive,
            frame_size=FRAME_SIZE if self.settings.render_source == "render" else None,
            pipeline_stage_num=self.pipeline_stage_num,
        )
        prompt = self.benchmark.get_language(task_id)
        return Player(pool, self.adapter(policy), policy, task_id, prompt, options)

    def _evaluation_start(self, task_id: int, index: int, film: bool, random_init: bool = False) -> RolloutStart:
        """Evaluation rollout `index` in its scene, with noise of its own."""
        scene_seed, state_index = self.evaluation_scene(task_id, index)
        state = None
        if not (random_init or self.settings.disable_init_states):
            state = self.benchmark.get_task_init_states(task_id)[state_index]
        return RolloutStart(scene_seed, state, entropy(Word.EVALUATION, self.seed, task_id, index), film)

    def _open_loop(self, policy: Policy) -> int:
        return self.open_loop or policy.open_loop

    def _observe_every(self, policy: Policy) -> int | None:
        """None where only the policy looks: at the start of chunks, where windows start unless they are closer."""
        stride, open_loop = self.window_stride, self._open_loop(policy)
        if stride is None or stride == "last" or stride % open_loop == 0:
            stride = open_loop
        if open_loop % stride:
            raise ValueError(
                f"window_stride={stride} is not valid: must divide open_loop={open_loop} or be a multiple of it"
            )
        if open_loop % (self.observe_every or 1):
            raise ValueError(f"observe_every={self.observe_every} is not valid: must divide open_loop={open_loop}")
        every = math.gcd(stride, self.observe_every or stride)
        return None if every == open_loop else every

    def save_video(self, folder: str | Path, film: Film, episode: Episode) -> Path | None:
        """Writes the frames that the episode recorded; None where there are none."""
        if not episode.frames:
            return None
        frames = episode.frames
        if self.info_on_video:
            lines = info(len(frames), episode.rewards, episode.success, FRAMES_EVERY)
            frames = [with_text(frame, text) for frame, text in zip(frames, lines, strict=True)]
        path = write_video(frames, folder, film.name)
        logger.info("video: %s", path)
        return path


def _for_each(render: bool | Sequence[bool], rollouts: int) -> Sequence[bool]:
    return [render] * rollouts if isinstance(render, bool) else render
