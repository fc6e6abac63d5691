"""One rollout in progress: what it starts from, what it has recorded, when it is over."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ript.env_runner.episode import ChunkDecision, Episode
from ript.env_runner.failure import NotFinite
from ript.env_runner.vec_env import Adapter, Chunk, ChunkResult, Observation, StartOfEpisode
from ript.flow.decision import Decision
from ript.models.pi0.dims import PADDED_DIM
from ript.seeds import torch_generator


@dataclass(frozen=True)
class RolloutStart:
    """What fixes a rollout completely, given the policy."""

    scene_seed: int
    init_state: np.ndarray | None
    """(D,) float64, or None for the layout drawn from the seed."""
    noise_seed: Sequence[int]
    """Seeds the policy's noise, so that a rollout does not depend on which others ran beside it."""
    film: bool = False
    """Record video frames."""


class Rollout:
    """Records one rollout, chunk by chunk, and becomes an `Episode`; `started` is the clock before its reset."""

    index: int
    """Its place among the rollouts asked for."""
    start: RolloutStart
    generator: torch.Generator
    """Gives all that is random in the policy's decisions, the noise first."""

    def __init__(
        self,
        index: int,
        start: RolloutStart,
        reset: StartOfEpisode,
        *,
        task_id: int,
        prompt: str,
        adapter: Adapter,
        max_episode_length: int,
        observe_end: bool,
        started: float,
    ):
        self.generator = torch_generator(start.noise_seed)
        self.index = index
        self.start = start
        self._task_id, self._prompt = task_id, prompt
        self._init_hash = reset.init_hash
        self._adapter = adapter
        self._max_episode_length = max_episode_length
        self._observe_end = observe_end
        self._started = started
        self._length = 0
        self._chunks: list[np.ndarray] = []
        self._decisions: list[ChunkDecision] = []
        self._played: list[np.ndarray] = []
        self._results: list[ChunkResult] = []
        self._observations: dict[int, dict[str, Any]] = {}
        self._states: dict[int, np.ndarray] = {}
        self._see(0, reset.observation)

    @property
    def done(self) -> bool:
        """Solved, or out of steps."""
        solved = bool(self._results) and self._results[-1].success
        return solved or self._length >= self._max_episode_length

    @property
    def observation(self) -> dict[str, Any]:
        """What the policy sees now."""
        return self._observations[self._length]

    def noise(self, chunk_size: int) -> Tensor:
        """The noise (chunk_size, 32) of the next chunk."""
        return torch.randn(chunk_size, PADDED_DIM, generator=self.generator)

    def plan(self, chunk: np.ndarray, decision: ChunkDecision, open_loop: int) -> Chunk:
        """Takes the policy's normalised chunk (H, 7); returns what the environment is to execute of it.

        Raises NotFinite: such an action reaches no simulator.
        """
        count = min(open_loop, self._max_episode_length - self._length)
        actions = self._adapter.to_env(chunk, self._states[self._length])[:count]
        self._check("an action of the policy", actions, self._length, chunk=chunk)
        self._chunks.append(chunk)
        self._decisions.append(decision)
        self._played.append(actions)
        goes_on = self._length + count < self._max_episode_length
        return Chunk(self._played[-1], observe_last=goes_on or self._observe_end)

    def record(self, result: ChunkResult) -> None:
        """Takes what the environment did with the plan. Raises NotFinite for rewards or states."""
        self._check("a reward", result.rewards, self._length, actions=self._played[-1])
        for step, observation in result.observations.items():
            self._see(self._length + step, observation)
        self._results.append(result)
        self._length += result.executed

    def episode(self) -> Episode:
        """The record of the finished rollout."""
        played = zip(self._played, self._results, strict=True)
        return Episode(
            task_id=self._task_id,
            task_description=self._prompt,
            init_hash=self._init_hash,
            actions=np.concatenate([actions[: result.executed] for actions, result in played]),
            actions_normalized=np.stack(self._chunks),
            executed=np.array([result.executed for result in self._results]),
            observations={step: seen for step, seen in self._observations.items() if step < self._length},
            states={step: state for step, state in self._states.items() if step < self._length},
            rewards=np.concatenate([result.rewards for result in self._results]),
            success=self._results[-1].success,
            decisions=tuple(self._decisions),
            last_observation=None if self._results[-1].success else self._observations.get(self._length),
            frames=[frame for result in self._results for frame in result.frames],
            seconds=time.perf_counter() - self._started,
        )

    def _see(self, step: int, observation: Observation) -> None:
        state = self._adapter.raw_state(observation)
        self._check("the robot's state", state, step)
        self._observations[step] = self._adapter.observe(observation, self._prompt)
        for name, image in self._observations[step]["image"].items():
            self._check(f"the image {name}", image, step)
        self._states[step] = state

    def _check(self, what: str, numbers: np.ndarray, step: int, **beside: np.ndarray) -> None:
        """Raises NotFinite naming the task and the step, with the numbers, those beside, and what was seen last."""
        if numbers.dtype.kind != "f" or np.isfinite(numbers).all():
            return
        seen = self._observations[max(self._observations)] if self._observations else {"image": {}}
        images = {f"image/{name}": image for name, image in seen["image"].items()}
        scene = np.array([self.start.scene_seed], np.int64)
        arrays = {"not_finite": np.asarray(numbers), **beside, **images, "scene_seed": scene}
        arrays |= {f"state/{at}": state for at, state in self._states.items()}
        raise NotFinite(f"{what} is not finite at step {step} of '{self._prompt}'", arrays)


def split_decision(decision: Decision) -> list[ChunkDecision]:
    """The record of each row of a batch."""
    columns: dict[str, Any] = {}
    if decision.value is not None:
        columns["value"] = decision.value.float().cpu().tolist()
    if decision.ends is not None:
        columns["points"] = _array(decision.ends)
    if decision.chain is not None:
        points, step, log_prob = decision.chain
        columns |= {"points": _array(points), "step": step.cpu().tolist(), "log_prob": _array(log_prob)}
    if decision.latent is not None:
        features, latent, log_prob = decision.latent
        columns |= {"features": _array(features), "latent": _array(latent), "log_prob": _array(log_prob)}
    rows = range(len(decision.actions))
    return [ChunkDecision(**{name: column[row] for name, column in columns.items()}) for row in rows]


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
