"""The training loop: iterate, log, evaluate, save."""

import logging
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ript.device import choose_device
from ript.distributed import Distributed
from ript.report.run_folder import step_folder
from ript.results.success import describe, merge, summarize
from ript.results.videos import VIDEOS
from ript.training.build import Parts, build_parts, check_config
from ript.training.checkpoint import POLICY, find_checkpoint, load_state, replay_name, save_checkpoint
from ript.training.diagnosis import Diagnostician
from ript.training.interrupt import Interrupt, Interrupted
from ript.training.memory import MemoryWatch, memory_metrics
from ript.training.run_logging import RunLogger
from ript.training.run_record import RunReport, drop_later_videos, record_start
from ript.training.weight_average import WeightAverage

logger = logging.getLogger(__name__)


class InputError(Exception):
    """The user's configuration cannot be run; the message is all they need."""


def run(cfg: DictConfig) -> None:
    """Trains, or with `algo.eval_only` evaluates once, as the configuration says. Raises InputError for bad input."""
    try:
        check_config(cfg)
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
    except (ValueError, FileNotFoundError) as error:
        raise InputError(error) from error
    try:
        with logging_redirect_tqdm():
            if cfg.algo.eval_only:
                trainer.evaluate()
            else:
                trainer.train()
    finally:
        trainer.close()


class Trainer:
    """A run in progress. Raises ValueError or FileNotFoundError for bad input before anything slow starts."""

    def __init__(self, cfg: DictConfig, distributed: Distributed):
        self.cfg = cfg
        self.distributed = distributed
        self.step = 0
        """Iterations done."""
        self.run_dir = Path(cfg.paths.run_dir)
        resume = cfg.training.resume
        checkpoint = find_checkpoint(self.run_dir, cfg.training.resume_path) if resume else None
        self.parts: Parts = build_parts(cfg, distributed, checkpoint / POLICY if checkpoint else None)
        self.average = self._weight_average()
        if checkpoint is None:
            self._set_aside_earlier_run()
        else:
            self._restore(checkpoint)
        self.log = RunLogger(self.run_dir, cfg, enabled=distributed.is_main, step=self.step)
        self.diagnostician = Diagnostician(self.run_dir, enabled=distributed.is_main, step=self.step)
        if distributed.is_main:
            drop_later_videos(self.run_dir, self.step)
            record_start(self.run_dir, self.step, distributed)
        self.report = RunReport(self.run_dir, enabled=distributed.is_main and cfg.logging.report)
        self.memory = MemoryWatch()

    def train(self) -> None:
        """Iterations up to `training.n_steps`, or `training.cut` of them; the last one is always saved.

        A signal makes the iteration in progress the last one, and raises Interrupted after it was saved.
        """
        cfg = self.cfg.training
        last = cfg.n_steps if cfg.cut is None else min(cfg.n_steps, self.step + cfg.cut)
        data_iterator = iter(self.parts.loader)
        hidden = not (self.cfg.logging.use_tqdm and self.distributed.is_main)
        bar = tqdm(total=cfg.n_steps, initial=self.step, desc="iterations", disable=hidden)
        with bar, Interrupt() as interrupt:
            if self.step == 0 and self.cfg.rollout.enabled and self.cfg.rollout.at_start:
                self.evaluate()
            while self.step < last:
                self._iterate(data_iterator)
                bar.update()
                evaluate = self.cfg.rollout.enabled and self._is_due(self.cfg.rollout.interval, last)
                if evaluate and not self.distributed.max(interrupt.received):
                    self.evaluate()
                stopped = self.distributed.max(interrupt.received)
                if stopped or self._is_due(cfg.save_interval, last):
                    self.save()
                if stopped:
                    raise Interrupted(128 + stopped)

    def _is_due(self, interval: int, last: int) -> bool:
        return self.step % interval == 0 or self.step == last

    def evaluate(self) -> dict[str, Any]:
        """Success on the benchmark's evaluation states, over all ranks; logged, and returned on every rank."""
        start = time.perf_counter()
        with self._averaged():
            tallies = self.parts.env_runner.evaluate(
                self.parts.policy,
                n_video=self.cfg.rollout.n_video,
                do_tqdm=self.cfg.logging.use_tqdm and self.distributed.is_main,
                rank=self.distributed.rank,
                world_size=self.distributed.world_size,
                cfg_scale=self.cfg.rollout.cfg_scale,
                video_dir=self.run_dir / VIDEOS / step_folder(self.step),
            )
        by_task = merge(self.distributed.gather(tallies))
        result = summarize(by_task)
        counts = {f"rollout_count/{name}": tally.n for name, tally in by_task.items()}
        counts |= {f"success_count/{name}": tally.k for name, tally in by_task.items()}
        rates = {f"rollout_success_rate/{name}": rate for name, rate in result["rollout_success_rate"].items()}
        seconds = {"time/evaluation_s": time.perf_counter() - start}
        self.log.log(self.step, "eval", {**result["rollout"], **rates, **counts, **seconds})
        if self.distributed.is_main:
            logger.info("evaluation after %d steps: success %s", self.step, describe(result))
        self.report.write()
        return result

    def save(self) -> None:
        """Writes a checkpoint; rank 0 does, the others give it what they alone know."""
        random_states = self.distributed.gather(torch.get_rng_state())
        replays = self._save_replays()
        if self.distributed.is_main:
            keep = self.cfg.training.keep_checkpoints
            state = {**self._state(), "random_states": random_states}
            with self._averaged():
                path = save_checkpoint(self.run_dir / "checkpoints", self.step, self.parts.policy, state, keep, replays)
            logger.info("checkpoint: %s", path)
        self.distributed.barrier()
        self.report.write()

    def close(self) -> None:
        """Ends simulators and log writers; the report has what was logged last."""
        self.parts.env_runner.close()
        self.memory.close()
        self.log.close()
        self.report.write()

    def _iterate(self, data_iterator: Any) -> None:
        parts = self.parts
        metrics = parts.rl_optimizer.optimize(
            parts.policy, next(data_iterator), parts.optimizers, data_iterator, parts.loader
        )
        metrics |= {f"lr/{group}": s.get_last_lr()[0] for group, s in parts.schedulers.items()}
        for scheduler in parts.schedulers.values():
            scheduler.step()
        metrics |= memory_metrics(self.memory, self.distributed)
        self.step += 1
        self.log.log(self.step, "train", metrics)
        self.diagnostician.observe(self.step, metrics)

    @property
    def _has_replay(self) -> bool:
        return self.cfg.algo.get("replay_iterations", 1) > 1

    def _save_replays(self) -> list[Path]:
        """Every rank writes its replayed windows; returns the files of all ranks once they are there."""
        if not self._has_replay:
            return []
        path = self.run_dir / replay_name(self.distributed.rank)
        self.parts.rl_optimizer.replay.save(path)
        return self.distributed.gather(path)

    def _weight_average(self) -> WeightAverage | None:
        algo, parts = self.cfg.algo, self.parts
        if not algo.ema_decay:
            return None
        parameters = [p for group in parts.policy.trainable_params.values() for p in group]
        average = WeightAverage(parameters, algo.ema_decay, warm_up=algo.random_weights)
        average.follow(list(parts.optimizers.values())[-1])  # all of them are stepped, this one last
        if parts.rollout_generator is not None:
            parts.rollout_generator.acting = average.applied
        return average

    def _averaged(self) -> AbstractContextManager[None]:
        """Within the block, the policy's weights are their moving average, if there is one."""
        return nullcontext() if self.average is None else self.average.applied()

    def _state(self) -> dict[str, Any]:
        parts = self.parts
        return {
            "step": self.step,
            "world_size": self.distributed.world_size,
            "optimizers": {group: optimizer.state_dict() for group, optimizer in parts.optimizers.items()},
            "schedulers": {group: scheduler.state_dict() for group, scheduler in parts.schedulers.items()},
            "rl_optimizer": parts.rl_optimizer.state_dict(),
            "loader": parts.loader.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
        }

    def _restore(self, checkpoint: Path) -> None:
        state = load_state(checkpoint)
        parts = self.parts
        self.step = state["step"]
        for group in parts.optimizers:
            parts.optimizers[group].load_state_dict(state["optimizers"][group])
            parts.schedulers[group].load_state_dict(state["schedulers"][group])
        parts.rl_optimizer.load_state_dict(state["rl_optimizer"])
        parts.loader.load_state_dict(state["loader"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        if state["world_size"] == self.distributed.world_size:
            torch.set_rng_state(state["random_states"][self.distributed.rank])
            if self._has_replay:
                parts.rl_optimizer.replay.load(checkpoint / replay_name(self.distributed.rank))
        else:
            logger.warning("another number of processes than before: random state and replayed windows start anew")
        logger.info("resumed from %s", checkpoint)

    def _set_aside_earlier_run(self) -> None:
        """A new run never writes over an old one of the same name: that one is renamed."""
        if self.distributed.is_main and self.run_dir.exists():
            kept = self.run_dir.with_name(f"{self.run_dir.name}_until_{time.strftime('%Y%m%d_%H%M%S')}")
            self.run_dir.rename(kept)
            logger.info("the earlier run is kept as %s", kept)
        self.distributed.barrier()
