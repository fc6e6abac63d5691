"""Plays rollouts of one task: one batched inference, then a chunk in all environments at once; or in stages."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ript.env_runner.episode import ChunkDecision, Episode
from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.policy import Policy
from ript.env_runner.rollout import Rollout, RolloutStart, split_decision
from ript.env_runner.vec_env import Adapter, Chunk, PendingResults, Start, VecEnv

FRAMES_EVERY = 5
"""Control steps between video frames: 4 frames per simulated second."""


@dataclass(frozen=True)
class PlayOptions:
    """How rollouts are played."""

    max_episode_length: int
    """Steps after waiting."""
    num_steps_wait: int
    """Steps to let objects settle before the episode starts."""
    open_loop: int
    """Executed steps per inference."""
    observe_every: int | None = None
    """Observe this often within a chunk too, for windows closer than chunks; None only where the policy looks."""
    cfg_scale: float = 1.0
    is_positive: int | None = None
    """See `Policy.act`."""
    frame_size: int | None = None
    """Side of video frames; None takes the policy's own camera images."""
    observe_end: bool = False
    """Observe after the last step of an episode that ran out of time, for the value of what would have followed."""
    pipeline_stage_num: int = 1
    """Parts of the environments that take turns: while the policy infers for one, the others execute their chunks."""


class Player:
    """Plays rollouts of a policy on one task over a pool of environments.

    An environment that finishes takes the next rollout at once; each turn is one inference, batched over the
    environments that still run, and one open-loop chunk in all of them in parallel.

    The environments are split into stages, which take turns in a fixed order: each turn waits for the stage's chunks,
    and infers while the other stages execute theirs. So which rollouts are inferred for together, and which environment
    takes which start, depends on how many steps episodes have, never on how fast they are.

    Args:
        pool: environments that have loaded the task.
        adapter: the simulator's conventions, for this policy.
        prompt: the task's instruction.
    """

    def __init__(self, pool: VecEnv, adapter: Adapter, policy: Policy, task_id: int, prompt: str, options: PlayOptions):
        self.pool, self.adapter, self.policy, self.options = pool, adapter, policy, options
        self.task_id, self.prompt = task_id, prompt

    def play(self, starts: Sequence[RolloutStart]) -> Iterator[Episode]:
        """The episodes of the starts, in their order."""
        finished: dict[int, Episode] = {}
        following = 0
        for index, episode in self.play_as_completed(starts):
            finished[index] = episode
            while following in finished:
                yield finished.pop(following)
                following += 1

    def play_as_completed(self, starts: Sequence[RolloutStart]) -> Iterator[tuple[int, Episode]]:
        """`(index, episode)` of each start, as its episode ends.

        Whoever leaves it, or an error, while chunks of other stages are being executed, closes the pool.
        """
        waiting = deque(enumerate(starts))
        running: list[Rollout | None] = [None] * self.pool.num_envs
        slots, stage_num = range(self.pool.num_envs), self.options.pipeline_stage_num
        self._fill(slots, running, waiting)
        # Every n-th environment each, so that stages are equally full when there are few rollouts.
        stages = [slots[first::stage_num] for first in range(stage_num)]
        executing: deque[tuple[range, PendingResults]] = deque()
        try:
            for stage in stages:
                self._begin_chunk(stage, running, executing)
            while executing:
                stage, results = executing.popleft()
                yield from self._finish_chunk(running, results)
                self._fill(stage, running, waiting)
                self._begin_chunk(stage, running, executing)
        finally:
            if executing:
                self.pool.close()

    def _fill(self, slots: range, running: list[Rollout | None], waiting: deque[tuple[int, RolloutStart]]) -> None:
        """Gives each free environment among `slots` the next start."""
        free = [slot in slots and rollout is None for slot, rollout in enumerate(running)]
        taken = [waiting.popleft() if is_free and waiting else None for is_free in free]
        if not any(taken):
            return
        started = time.perf_counter()
        resets = self.pool.reset([self._start(entry[1]) if entry else None for entry in taken])
        for slot, (entry, reset) in enumerate(zip(taken, resets, strict=True)):
            if entry is not None and reset is not None:
                running[slot] = Rollout(
                    *entry,
                    reset,
                    task_id=self.task_id,
                    prompt=self.prompt,
                    adapter=self.adapter,
                    max_episode_length=self.options.max_episode_length,
                    observe_end=self.options.observe_end,
                    started=started,
                )

    def _begin_chunk(
        self, stage: range, running: Sequence[Rollout | None], executing: deque[tuple[range, PendingResults]]
    ) -> None:
        """One inference for the running rollouts of the stage, then their chunks begin; nothing if none runs."""
        active = {slot: rollout for slot in stage if (rollout := running[slot]) is not None}
        if not active:
            return
        rollouts = active.values()
        decision = self.policy.act(
            collate_observations([rollout.observation for rollout in rollouts]),
            noise=torch.stack([rollout.noise(self.policy.chunk_size) for rollout in rollouts]),
            generators=[rollout.generator for rollout in rollouts],
            cfg_scale=self.options.cfg_scale,
            is_positive=self.options.is_positive,
        )
        chunks = zip(decision.actions.float().cpu().numpy(), split_decision(decision), strict=True)
        planned = [self._chunk(active[slot], *next(chunks)) if slot in active else None for slot in range(len(running))]
        executing.append((stage, self.pool.begin_chunk(planned)))

    def _finish_chunk(self, running: list[Rollout | None], results: PendingResults) -> Iterator[tuple[int, Episode]]:
        """Waits for the chunks of a stage, and frees the environments whose episodes ended."""
        for rollout, result in zip(running, results(), strict=True):
            if rollout is not None and result is not None:
                rollout.record(result)
        for slot, rollout in enumerate(running):
            if rollout is not None and rollout.done:
                running[slot] = None
                yield rollout.index, rollout.episode()

    def _start(self, start: RolloutStart) -> Start:
        return Start(start.scene_seed, start.init_state, self.options.num_steps_wait)

    def _chunk(self, rollout: Rollout, chunk: np.ndarray, decision: ChunkDecision) -> Chunk:
        planned = rollout.plan(chunk, decision, self.options.open_loop)
        planned = replace(planned, observe_every=self.options.observe_every)
        if rollout.start.film:
            return replace(planned, frame_every=FRAMES_EVERY, frame_size=self.options.frame_size)
        return planned
