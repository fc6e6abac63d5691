"""What environments that take turns bring (`algo.pipeline_stage_num`): the same rollouts in one stage and in two.

    python benchmarks/pipeline.py
    python benchmarks/pipeline.py --environments 32 --cores 16 --simulate-s 0.3 --infer-s 0.1

The runner's own player and pool, with a policy and simulators that only sleep: it shows how turns overlap, and nothing
of what real ones cost. With one stage, a turn is `--infer-s` of inference for all environments, then `--simulate-s`
until all have executed their chunks. A chunk holds one of `--cores` for its time: with fewer of them than environments,
half the environments take half as long. `--fixed` is the share of an inference call's time that does not depend on its
batch. One stage and several are played in turns; medians of `--repeats`, and their ratio.
"""

import argparse
import itertools
import multiprocessing
import statistics
import time
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from ript.env_runner.vec_env import ChunkResult, StartOfEpisode
from ript.env_runner.workers import EnvPool

WIDTH = 7
"""Numbers of an action and of a state."""


class SleepingEnv:
    """A simulator that takes `seconds` of one of the cores per chunk."""

    def __init__(self, cores: AbstractContextManager[Any], seconds: float):
        self._cores, self._seconds = cores, seconds

    def reset(self, **start: Any) -> StartOfEpisode:
        """Takes no time."""
        return StartOfEpisode({}, np.zeros(1), "")

    def step_chunk(self, actions: np.ndarray, **look: Any) -> ChunkResult:
        """Nothing is ever solved."""
        with self._cores:
            time.sleep(self._seconds)
        return ChunkResult(np.zeros(len(actions)), len(actions), False, {len(actions): {}}, [])

    def close(self) -> None:
        """There is nothing to close."""


class SleepingPolicy:
    """A policy and its adapter: `infer_s` for `whole` observations, `fixed` of it for any number of them."""

    chunk_size = 1

    def __init__(self, infer_s: float, fixed: float, whole: int):
        self._infer_s, self._fixed, self._whole = infer_s, fixed, whole

    def act(self, observation: Any, noise: Any, **options: Any) -> Any:
        """Zeros (B, 1, 7)."""
        from ript.flow.decision import Decision

        share = len(noise) / self._whole
        time.sleep(self._infer_s * (self._fixed + (1 - self._fixed) * share))
        return Decision(noise.new_zeros(len(noise), 1, WIDTH), None, None)

    def observe(self, raw: Any, prompt: str) -> dict[str, Any]:
        """No images."""
        return {"image": {}, "state": np.zeros(WIDTH, np.float32), "prompt": prompt}

    def raw_state(self, raw: Any) -> np.ndarray:
        """Zeros."""
        return np.zeros(WIDTH)

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """As they are."""
        return chunk.astype(np.float64)


def seconds(pool: EnvPool, policy: Any, stages: int, rollouts: int, chunks: int) -> float:
    """Of so many rollouts of so many chunks each."""
    # Workers import this file, and need no torch.
    from ript.env_runner.player import Player, PlayOptions
    from ript.env_runner.rollout import RolloutStart

    options = PlayOptions(max_episode_length=chunks, num_steps_wait=0, open_loop=1, pipeline_stage_num=stages)
    player = Player(pool, policy, policy, 0, "", options)
    started = time.perf_counter()
    played = list(player.play([RolloutStart(0, None, [i]) for i in range(rollouts)]))
    assert [episode.length for episode in played] == [chunks] * rollouts
    return time.perf_counter() - started


def row(options: argparse.Namespace, cores: int, fixed: float) -> str:
    """One line of the table."""
    number = options.environments
    tokens = multiprocessing.get_context("spawn").BoundedSemaphore(cores)
    policy = SleepingPolicy(options.infer_s, fixed, number)
    chunk_s = options.simulate_s / -(-number // cores)
    found: dict[int, list[float]] = {1: [], options.stages: []}
    with EnvPool(partial(SleepingEnv, tokens, chunk_s), number) as pool:
        for _, stages in itertools.product(range(options.repeats), found):
            found[stages].append(seconds(pool, policy, stages, 2 * number, options.chunks))
    one, several = (statistics.median(times) for times in found.values())
    return f"| {number} | {cores} | {fixed:g} | {one:.2f} | {several:.2f} | {one / several:.2f} × |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--cores", type=int, nargs="+", default=[8, 4], help="for simulators (default: 8 4)")
    parser.add_argument("--fixed", type=float, nargs="+", default=[1.0, 0.5, 0.0], help="default: 1 0.5 0")
    parser.add_argument("--simulate-s", type=float, default=0.4, help="chunks of all (default: %(default)s)")
    parser.add_argument("--infer-s", type=float, default=0.4, help="inference for all (default: %(default)s)")
    parser.add_argument("--stages", type=int, default=2, help="compared with 1 (default: %(default)s)")
    parser.add_argument("--chunks", type=int, default=3, help="of a rollout; two rollouts per environment (default: 3)")
    parser.add_argument("--repeats", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    if not 1 < options.stages <= options.environments or min(options.cores) < 1:
        parser.error("--stages must be from 2 to --environments, --cores at least 1")
    print(f"| environments | cores | fixed share | 1 stage, s | {options.stages} stages, s | ratio |")
    print("|" + " --- |" * 6)
    for cores, fixed in itertools.product(options.cores, options.fixed):
        print(row(options, cores, fixed), flush=True)


if __name__ == "__main__":
    main()
