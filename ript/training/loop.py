"""The training loop: iterate, log, evaluate, save."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from tqdm.contrib.logging import logging_redirect_tqdm

from ript.device import choose_device
from ript.distributed import Distributed, fill_in_environment
from ript.env_runner.failure import EnvironmentFailure
from ript.locks import LOCK, FolderLock
from ript.progress import progress_bar
from ript.results.success import Tally, describe, merge, summarize
from ript.results.videos import VIDEOS, step_folder
from ript.training.build import Parts, build_parts, check_config
from ript.training.checkpoint import POLICY, find_checkpoint, load_state, save_checkpoint
from ript.training.diagnosis import Diagnostician
from ript.training.faults import FAULTS, RunFailed, describe_fault
from ript.training.interrupt import Interrupt, Interrupted
from ript.training.memory import MemoryWatch, memory_metrics
from ript.training.resume import check_changes, set_aside_later
from ript.training.run_logging import RunLogger
from ript.training.run_record import RunReport, log_summary, record_start

logger = logging.getLogger(__name__)


class InputError(Exception):
    """The user's configuration cannot be run; the message is all they need."""


def run(cfg: DictConfig) -> None:
    """Trains, or with `algo.eval_only` evaluates once, as the configuration says.

    Raises InputError for bad input, RunFailed when a disk or a simulator ends it.
    """
    try:
        check_config(cfg)
        fill_in_environment(os.environ)
        device = choose_device(cfg.device)
    except ValueError as error:
        raise InputError(error) from error
    torch.manual_seed(cfg.seed)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(cfg.num_threads)
    distributed = Distributed.start(device)
    if not distributed.is_main:
        logging.getLogger().setLevel(logging.WARNING)
    try:
        _run(cfg, distributed)
    finally:
        distributed.stop()


def _run(cfg: DictConfig, distributed: Distributed) -> None:
    try:
        trainer = Trainer(cfg, distributed)
    except (ValueError, OSError) as error:
        raise InputError(error) from error
    try:
        with closing(trainer), logging_redirect_tqdm():
            if cfg.algo.eval_only:
                trainer.evaluate_only()
            else:
                trainer.train()
    except FAULTS as error:
        raise RunFailed(describe_fault(error, trainer.run_dir, distributed.rank)) from error


class Trainer:
    """A run in progress. Raises ValueError or OSError for bad input before anything slow starts."""

    def __init__(self, cfg: DictConfig, distributed: Distributed):
        self.cfg = cfg
        self.distributed = distributed
        self.step = self.saved = 0
        """Iterations done; iterations of the newest checkpoint."""
        self.run_dir = run_folder(cfg)
        checkpoint = find_checkpoint(self.run_dir, cfg.training.resume, cfg.training.resume_path)
        state = None if checkpoint is None else load_state(checkpoint)
        if state is not None and state["config"] is not None:
            check_changes(state["config"], self._config())
        self.parts: Parts = build_parts(cfg, distributed, checkpoint / POLICY if checkpoint else None)
        if checkpoint is not None and state is not None:
            self._restore(checkpoint, state)
        self._lock = self._open_folder(checkpoint) if distributed.is_main else None
        distributed.barrier()
        self.log = RunLogger(self.run_dir, cfg, enabled=distributed.is_main)
        self.diagnostician = Diagnostician(self.run_dir, enabled=distributed.is_main)
        if distributed.is_main:
            record_start(self.run_dir, self.step, distributed, self.parts.env_runner.simulator.packages)
        self.report = RunReport(self.run_dir, enabled=distributed.is_main and cfg.logging.report)
        self.memory = MemoryWatch()

    def train(self) -> None:
        """Iterations up to `training.n_steps`, or `training.cut` of them; the last one is always saved.

        A signal makes the iteration in progress the last one, or ends the evaluation in progress; Interrupted is raised
        after all was saved. When the simulator fails again and again, what is done is saved too.
        """
        cfg = self.cfg.training
        last = cfg.n_steps if cfg.cut is None else min(cfg.n_steps, self.step + cfg.cut)
        data_iterator = iter(self.parts.loader)
        hidden = not (self.cfg.logging.use_tqdm and self.distributed.is_main)
        bar = progress_bar(total=cfg.n_steps, initial=self.step, desc="iterations", disable=hidden)
        with bar, Interrupt() as interrupt:
            if self.step == 0 and self.cfg.rollout.enabled and self.cfg.rollout.at_start:
                self.evaluate(interrupt)
                self._end_if_stopped(interrupt)
            while self.step < last:
                try:
                    self._iterate(data_iterator)
                except EnvironmentFailure:
                    self._save_what_is_done()
                    raise
                bar.update()
                if self._is_due(cfg.save_interval, last):
                    self.save()
                self._end_if_stopped(interrupt)
                if self.cfg.rollout.enabled and self._is_due(self.cfg.rollout.interval, last):
                    self.evaluate(interrupt)
                    self._end_if_stopped(interrupt)

    def _end_if_stopped(self, interrupt: Interrupt) -> None:
        """Saves and raises Interrupted on all ranks, if one of them got a signal. A collective."""
        stopped = self.distributed.max(interrupt.received)
        if stopped:
            self._save_what_is_done()
            raise Interrupted(128 + stopped)

    def _save_what_is_done(self) -> None:
        if self.step > self.saved:
            self.save()

    def _is_due(self, interval: int, last: int) -> bool:
        return self.step % interval == 0 or self.step == last

    def evaluate_only(self) -> None:
        """One evaluation; a signal ends it at once. Raises EnvironmentFailure if it is not whole."""
        missing = self.evaluate()["missing"]
        if missing:
            raise EnvironmentFailure(f"{missing} rollouts of the evaluation were not played; the log says why")

    def evaluate(self, interrupt: Interrupt | None = None) -> dict[str, Any]:
        """Success on the benchmark's evaluation states, over all ranks; logged, and returned on every rank.

        `missing` says how many rollouts the simulator failed to play. A signal ends it without a result.
        """
        stop: Callable[[], bool] = (lambda: False) if interrupt is None else (lambda: bool(interrupt.received))
        start = time.perf_counter()
        with self.parts.learner.acting():
            tallies = self.parts.env_runner.evaluate(
                self.parts.policy,
                n_video=self.cfg.rollout.n_video,
                do_tqdm=self.cfg.logging.use_tqdm and self.distributed.is_main,
                rank=self.distributed.rank,
                world_size=self.distributed.world_size,
                cfg_scale=self.cfg.rollout.cfg_scale,
                video_dir=self.run_dir / VIDEOS / step_folder(self.step),
                stop=stop,
            )
        parts = self.distributed.gather((tallies, stop()))
        by_task = merge([part for part, _ in parts])
        result = summarize(by_task)
        result["missing"] = self._asked_for(by_task) - result["rollout"]["rollout_count"]
        if any(stopped for _, stopped in parts):
            logger.info("evaluation after %d steps left: success so far %s", self.step, describe(result))
            return result
        counts = {f"rollout_count/{name}": tally.n for name, tally in by_task.items()}
        counts |= {f"success_count/{name}": tally.k for name, tally in by_task.items()}
        rates = {f"rollout_success_rate/{name}": rate for name, rate in result["rollout_success_rate"].items()}
        seconds = {"time/evaluation_s": time.perf_counter() - start, "rollout_missing": result["missing"]}
        self.log.log(self.step, "eval", {**result["rollout"], **rates, **counts, **seconds})
        if self.distributed.is_main:
            missing = f", {result['missing']} rollouts not played" if result["missing"] else ""
            logger.info("evaluation after %d steps: success %s%s", self.step, describe(result), missing)
        self.report.write()
        return result

    def _asked_for(self, by_task: Mapping[str, Tally]) -> int:
        return len(by_task) * self.parts.env_runner.rollouts_per_env

    def save(self) -> None:
        """Writes a checkpoint. All ranks call it; each part saves what it owns."""
        parts = self.parts
        state = {
            "step": self.step,
            "learner": parts.learner.state_dict(),
            "rl_optimizer": parts.rl_optimizer.state_dict(),
            "loader": parts.loader.state_dict(),
            "config": self._config(),
        }
        with parts.learner.acting():
            path = save_checkpoint(
                self.run_dir / "checkpoints",
                self.step,
                self.cfg.training.keep_checkpoints,
                self.distributed,
                save_policy=parts.policy.save,
                state=state,
                save_arrays=parts.rl_optimizer.save_arrays,
            )
        self.saved = self.step
        if self.distributed.is_main:
            logger.info("checkpoint: %s", path)
        self.report.write()

    def close(self) -> None:
        """Ends simulators and log writers; report and summary have what was logged last."""
        self.parts.env_runner.close()
        self.parts.group_source.close()
        self.memory.close()
        self.log.close()
        self.report.write()
        if self.distributed.is_main:
            log_summary(self.run_dir)
        if self._lock is not None:
            self._lock.close()

    def _iterate(self, data_iterator: Any) -> None:
        parts = self.parts
        metrics = parts.rl_optimizer.optimize(
            parts.policy, next(data_iterator), parts.learner, data_iterator, parts.loader
        )
        metrics |= parts.learner.end_iteration()
        metrics |= memory_metrics(self.memory, self.distributed)
        self.step += 1
        self.log.log(self.step, "train", metrics)
        self.diagnostician.observe(self.step, metrics)

    def _restore(self, checkpoint: Path, state: Mapping[str, Any]) -> None:
        parts = self.parts
        self.step = self.saved = state["step"]
        parts.learner.load_state_dict(state["learner"])
        parts.rl_optimizer.load_state_dict(state["rl_optimizer"])
        parts.rl_optimizer.load_arrays(checkpoint)
        parts.loader.load_state_dict(state["loader"])
        logger.info("resumed from %s", checkpoint)

    def _config(self) -> dict[str, Any]:
        """The configuration as plain values."""
        return cast(dict[str, Any], OmegaConf.to_container(self.cfg, resolve=True))

    def _open_folder(self, checkpoint: Path | None) -> FolderLock:
        """Takes the run's folder for this process alone, without writing over what is there.

        An earlier run of the name is renamed, unless this one goes on with it; then what came after its checkpoint is
        set aside. Raises ValueError when another process is at work there.
        """
        lock = FolderLock(self.run_dir)
        if checkpoint is not None and checkpoint.resolve().is_relative_to(self.run_dir.resolve()):
            set_aside_later(self.run_dir, self.step)
            return lock
        if not any(path.name != LOCK for path in self.run_dir.iterdir()):
            return lock
        kept = self.run_dir.with_name(f"{self.run_dir.name}_until_{time.strftime('%Y%m%d_%H%M%S')}")
        self.run_dir.rename(kept)
        lock.close()
        logger.info("the earlier run is kept as %s", kept)
        return FolderLock(self.run_dir)


def run_folder(cfg: DictConfig) -> Path:
    """Where the run writes. An evaluation has a place of its own, beside the runs, and moves none of them."""
    if not cfg.algo.eval_only:
        return Path(cfg.paths.run_dir).expanduser()
    name = f"{cfg.paths.run_name}_{time.strftime('%Y%m%d_%H%M%S')}"
    return Path(cfg.paths.output_dir).expanduser() / "evaluations" / name
