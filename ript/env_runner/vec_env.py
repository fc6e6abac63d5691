"""What the runner and a simulator say to each other: the protocols of a simulator, and the records that pass between.

A simulator is a folder in `ript/simulators/` (see `ript.simulators.registry`). It brings one object per suite with the
protocol `Simulator`, from which the runner gets the three others: `Benchmark` (which tasks there are), `VecEnv` (many
episodes at the same time) and `Adapter` (what the policy sees and does in them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

if TYPE_CHECKING:  # worker processes import this module, and need no network
    from ript.models.pi0.norm_stats import NormStats

Render = Literal["exact", "fast"]
"""How camera images are drawn: the benchmark's way, or cheaper and a little different where a simulator can."""
RENDERS: tuple[Render, ...] = get_args(Render)

Observation = dict[str, np.ndarray]
"""What the simulator's adapter reads, as the simulator gives it."""


@dataclass(frozen=True)
class Start:
    """What an episode starts from."""

    scene_seed: int
    """Fixes what an initial state does not hold and, without an initial state, all of the scene."""

    init_state: np.ndarray | None = None
    """The simulator state `(D,)` float64 to start from; None is the scene drawn from the seed."""

    num_steps_wait: int = 0
    """Control steps to let objects settle before the episode."""


@dataclass(frozen=True)
class StartOfEpisode:
    """What a reset returns."""

    observation: Observation
    """The observation after the waiting steps."""

    init_state: np.ndarray
    """The flattened simulator state `(D,)` float64 the episode started from, before the waiting steps."""

    init_hash: str
    """SHA-256 (hex) of the scene; equal hashes mean the same fixtures and the same state, bit for bit."""


@dataclass(frozen=True)
class Chunk:
    """Actions to execute without the policy, and what to look at on the way."""

    actions: np.ndarray
    """`(n, A)` float64 commands of the simulator."""

    observe_every: int | None = None
    """Observe after every so many actions of the chunk."""

    observe_last: bool = True
    """Observe after the last action; False spares the image that nobody looks at when the episode's time is up."""

    frame_every: int | None = None
    """Take a video frame after every so many steps, counted from the start of the episode; None takes none."""

    frame_size: int | None = None
    """Render frames at this size; None takes the policy's own camera image."""


@dataclass(frozen=True)
class ChunkResult:
    """What happened while a chunk of actions was executed."""

    rewards: np.ndarray
    """`(executed,)` float64, the simulator's reward of each step."""

    executed: int
    """Number of actions executed; fewer than given only when one of them solved the task."""

    success: bool
    """Whether the task was solved; the episode is then over."""

    observations: dict[int, Observation]
    """Observations by the number of actions of this chunk executed before them."""

    frames: list[np.ndarray]
    """Upright video frames `(H, W, 3)` uint8, oldest first."""


PendingResults = Callable[[], Sequence[ChunkResult | None]]
"""Waits for the results of chunks that are being executed; to be called once."""


class VecEnv(Protocol):
    """N environments of one task that work at the same time: a pool of processes, or one batched simulator.

    Entry i of each list is environment i's. None lets it sit out, and its result is None.
    """

    @property
    def num_envs(self) -> int:
        """N."""

    @property
    def is_closed(self) -> bool:
        """It can no longer be used: it was closed, or closed itself when an environment died or hung."""

    def load_task(self, task_id: int) -> None:
        """Takes up another task in all environments. After an error some may have it and others not: close them."""

    def reset(self, starts: Sequence[Start | None]) -> Sequence[StartOfEpisode | None]:
        """Starts episodes."""

    def step_chunk(self, chunks: Sequence[Chunk | None]) -> Sequence[ChunkResult | None]:
        """Executes chunks: `begin_chunk(chunks)()`."""

    def begin_chunk(self, chunks: Sequence[Chunk | None]) -> PendingResults:
        """Begins to execute chunks. Until their results are waited for, only those that sit out may be asked for more.

        A simulator within this process may execute when it is waited for.
        """

    def close(self) -> None:
        """Frees the simulators; a second call does nothing."""


class Benchmark(Protocol):
    """The tasks of one suite; ids count from 0."""

    @property
    def name(self) -> str:
        """The suite's name."""

    @property
    def max_episode_length(self) -> int:
        """Control steps, after those of waiting, after which an episode counts as failed."""

    @property
    def num_steps_wait(self) -> int:
        """Control steps to let objects settle before an episode, where nothing else is asked for."""

    def get_task_names(self) -> list[str]:
        """Names of all tasks, in the order of their ids."""

    def get_task_id(self, task_name: str) -> int:
        """The id of the task called so. Raises ValueError naming the nearest and all valid ones."""

    def get_language(self, task_id: int) -> str:
        """The instruction a policy is prompted with. Raises ValueError for an id that there is not."""

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation states `(N, D)` float64, in the order in which evaluations start from them.

        Training never starts from one of them.
        """


class Adapter(Protocol):
    """A simulator's observation and action conventions for one robot, and one policy's normalisation."""

    @property
    def cameras(self) -> Sequence[str]:
        """π0's names of the cameras whose images `observe` gives."""

    @property
    def state_dim(self) -> int:
        """S, numbers of the robot's state."""

    @property
    def action_dim(self) -> int:
        """A, numbers of the policy's action."""

    def observe(self, raw: Observation, prompt: str) -> dict[str, Any]:
        """`{"image": {camera: (H, W, 3) uint8, upright}, "state": (S,) float32 normalised, "prompt": prompt}`.

        Raises KeyError naming a key that the observation lacks.
        """

    def raw_state(self, raw: Observation) -> np.ndarray:
        """Proprioception `(S,)` float64 before normalisation, in metres and radians."""

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The policy's normalised chunk `(H, A)` → commands float64; `state` is the raw one at the chunk's start."""

    def to_labels(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Commands → normalised labels `(H, A)` float32: the inverse of `to_env`."""


MakePool = Callable[[Callable[[], Any], int], VecEnv]
"""`(make_env, num_envs) → VecEnv`: where a simulator's environments run. `EnvPool`: in processes of this machine."""


class Simulator(Protocol):
    """One suite of a simulator. Making it starts nothing heavy."""

    @property
    def benchmark(self) -> Benchmark:
        """Its tasks."""

    @property
    def packages(self) -> Sequence[str]:
        """The installed distributions on whose versions results depend."""

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = ...
    ) -> VecEnv:
        """Starts so many environments of a task, whose camera images are `image_size` pixels wide and high.

        `make_pool` starts those that run in processes of their own.
        """

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> Adapter:
        """The conventions for a policy with these statistics; `delta_actions`: relative to the chunk's start state."""


Tasks = str | int | Sequence[str | int] | None
"""Tasks as users give them: names or ids, one or several; None is all of the suite."""


def task_ids(benchmark: Benchmark, wanted: Tasks) -> list[int]:
    """Ids of the tasks, each once, in the order given. Raises ValueError for tasks that do not exist, or none."""
    if wanted is None:
        return list(range(len(benchmark.get_task_names())))
    several = [wanted] if isinstance(wanted, str | int) else wanted
    if not several:
        raise ValueError("no task is named: null is all tasks of the suite")
    ids = [int(task) if str(task).isdecimal() else benchmark.get_task_id(str(task)) for task in several]
    for task_id in ids:
        benchmark.get_language(task_id)
    return list(dict.fromkeys(ids))


def select_tasks(benchmark: Benchmark, wanted: Tasks) -> list[int]:
    """`task_ids` in ascending order."""
    return sorted(task_ids(benchmark, wanted))
