"""Plays chains: one batched inference for all that run, the next task where the last one ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.policy import Policy
from ript.env_runner.vec_env import Chunk, ChunkResult, Observation, Start
from ript.env_runner.workers import EnvPool
from ript.models.pi0.dims import PADDED_DIM
from ript.seeds import Word, entropy, torch_generator
from ript.simulators.calvin.adapter import CalvinAdapter
from ript.simulators.calvin.chain import Chain
from ript.simulators.calvin.tasks import INSTRUCTIONS


class Played(NamedTuple):
    """How a chain went."""

    number: int
    solved: int
    """Tasks in a row, 0 to 5."""
    steps: int
    """Control steps of all of them."""


@dataclass
class Running:
    """A chain in one of the environments."""

    number: int
    chain: Chain
    raw: Observation
    generator: torch.Generator
    solved: int = 0
    steps: int = 0
    """Of the task at hand."""
    all_steps: int = 0

    @property
    def task(self) -> str:
        """The task at hand."""
        return self.chain.tasks[self.solved]

    @property
    def is_solved(self) -> bool:
        """No task is left."""
        return self.solved == len(self.chain.tasks)

    @property
    def has_next(self) -> bool:
        """The last chunk solved a task, and another one is left."""
        return self.steps == 0 and not self.is_solved


class ChainPlayer:
    """Plays chains in a pool of environments.

    Args:
        pool: of `CalvinEnv`.
        policy: whose chunks are executed.
        adapter: CALVIN's conventions for it.
        max_steps: control steps per task.
        open_loop: executed steps per inference.
        seed: of the policy's noise.
    """

    def __init__(
        self, pool: EnvPool, policy: Policy, adapter: CalvinAdapter, max_steps: int, open_loop: int, seed: int
    ):
        self._pool, self._policy, self._adapter = pool, policy, adapter
        self._max_steps, self._open_loop, self._seed = max_steps, open_loop, seed

    def play(self, chains: Sequence[tuple[int, Chain]]) -> Iterator[Played]:
        """Results in the order in which chains end; the noise of a chain depends on its number alone."""
        waiting = list(chains)[::-1]
        running: list[Running | None] = [None] * self._pool.num_envs
        while waiting or any(running):
            self._begin(running, waiting)
            self._play_chunk(running)
            yield from self._finish(running)

    def _begin(self, running: list[Running | None], waiting: list[tuple[int, Chain]]) -> None:
        taken = [waiting.pop() if run is None and waiting else None for run in running]
        resets = self._pool.reset([None if entry is None else Start(0, entry[1].start) for entry in taken])
        for slot, (entry, reset) in enumerate(zip(taken, resets, strict=True)):
            if entry is not None:
                generator = torch_generator(entropy(Word.EVALUATION, self._seed, entry[0]))
                running[slot] = Running(*entry, reset.observation, generator)
        tasks = [None if entry is None else (_task_id(entry[1].tasks[0]),) for entry in taken]
        self._pool.call("go_on", tasks)

    def _play_chunk(self, running: list[Running | None]) -> None:
        active = [run for run in running if run is not None]
        seen = [self._adapter.observe(run.raw, INSTRUCTIONS[run.task]) for run in active]
        shape = (self._policy.chunk_size, PADDED_DIM)
        noise = torch.stack([torch.randn(shape, generator=run.generator) for run in active])
        decision = self._policy.act(collate_observations(seen), noise, [run.generator for run in active])
        chunks = iter(decision.actions.float().cpu().numpy())
        planned = [None if run is None else self._chunk(run, next(chunks)) for run in running]
        for run, result in zip(running, self._pool.step_chunk(planned), strict=True):
            if run is not None:
                _record(run, result)
        tasks = [(_task_id(run.task),) if run is not None and run.has_next else None for run in running]
        for run, raw in zip(running, self._pool.call("go_on", tasks), strict=True):
            if run is not None and raw is not None:
                run.raw = raw

    def _chunk(self, run: Running, chunk: np.ndarray) -> Chunk:
        commands = self._adapter.to_env(chunk, self._adapter.raw_state(run.raw))
        return Chunk(commands[: min(self._open_loop, self._max_steps - run.steps)])

    def _finish(self, running: list[Running | None]) -> Iterator[Played]:
        for slot, run in enumerate(running):
            if run is not None and (run.is_solved or run.steps >= self._max_steps):
                running[slot] = None
                yield Played(run.number, run.solved, run.all_steps)


def _record(run: Running, result: ChunkResult) -> None:
    run.steps += result.executed
    run.all_steps += result.executed
    run.raw = result.observations[result.executed] if not result.success else run.raw
    if result.success:
        run.solved, run.steps = run.solved + 1, 0


def _task_id(task: str) -> int:
    return list(INSTRUCTIONS).index(task)
