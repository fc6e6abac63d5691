"""What a rollout costs, as openpi's LIBERO example plays it and as we do: environment steps per second of one core.

    python benchmarks/rollout.py
    python benchmarks/rollout.py --suite libero_spatial --policy FOLDER --repeats 5

All ways play one scene for `--steps` control steps, with the same policy and the same noise wherever they look:

- "stock, no policy": LIBERO's own environment, which draws both cameras at every step; the actions are 0;
- "every step, replan 5": the same environment, and a new chunk every 5 steps: the loop of openpi's example
  and of RLinf;
- "ours, N executed": images only when the policy looks, every N steps; with exact images and with fast ones.

The ways take turns; medians of `--repeats`. A play ends early where the policy succeeds; steps are counted as played.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_io import collate_observations
from ript.env_runner.pi0_runner_utils import LiberoAdapter
from ript.env_runner.vec_env import Render
from ript.models.pi0.dims import PADDED_DIM
from ript.progress import progress_bar
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.control_env import make_context_current, make_control_env
from ript.simulators.libero.env import ACTION_DIM, LiberoEnv

Way = Callable[[], int]
"""Plays, and returns how many steps."""
REPLAN = 5
EXECUTED = (5, 10, 50)


class Looker:
    """The policy, from one raw observation to executable actions; its n-th look in an episode has the n-th noise."""

    def __init__(self, policy: PI0_OFT_Policy, prompt: str):
        self._policy, self._prompt = policy, prompt
        self._adapter = LiberoAdapter(policy.norm_stats, policy.card.delta_actions)
        self.restart()

    def restart(self) -> None:
        """The next look is an episode's first."""
        self._generator = torch.Generator().manual_seed(0)

    def look(self, raw: Any) -> np.ndarray:
        """A raw observation → (chunk, 7) actions."""
        observation = collate_observations([self._adapter.observe(raw, self._prompt)])
        noise = torch.randn(1, self._policy.chunk_size, PADDED_DIM, generator=self._generator)
        chunk = self._policy.act(observation, noise).actions[0].cpu().numpy()
        return self._adapter.to_env(chunk, self._adapter.raw_state(raw))


def stock_way(env: Any, state: np.ndarray, steps: int, looker: Looker | None) -> int:
    """LIBERO's own environment, with a new chunk every `REPLAN` steps or without a policy."""
    make_context_current(env.sim)  # otherwise it would draw in the context of whoever drew last
    env.reset()
    raw = env.set_init_state(state)
    actions = np.zeros((REPLAN, ACTION_DIM))
    for step in range(steps):
        if looker is not None and step % REPLAN == 0:
            actions = looker.look(raw)
        raw, _, done, _ = env.step(actions[step % REPLAN])
        if done:
            return step + 1
    return steps


def our_way(env: LiberoEnv, state: np.ndarray, steps: int, looker: Looker, executed: int) -> int:
    """Images when the policy looks."""
    raw = env.reset(scene_seed=0, init_state=state, num_steps_wait=0).observation
    done = 0
    while done < steps:
        chunk = looker.look(raw)[: min(executed, steps - done)]
        result = env.step_chunk(chunk, observe_last=done + len(chunk) < steps)
        done += result.executed
        if result.success or done == steps:
            break
        raw = result.observations[result.executed]
    return done


def all_ways(
    stock: Any, ours: Mapping[Render, LiberoEnv], state: np.ndarray, steps: int, looker: Looker
) -> dict[str, Way]:
    """What is compared; `ours`: an environment per way of drawing images."""
    ways: dict[str, Way] = {
        "stock, no policy": partial(stock_way, stock, state, steps, None),
        f"every step, replan {REPLAN}": partial(stock_way, stock, state, steps, looker),
    }
    for render, env in ours.items():
        for executed in EXECUTED:
            ways[f"ours, {executed} executed, {render}"] = partial(our_way, env, state, steps, looker, executed)
    return ways


def play(way: Way, looker: Looker) -> tuple[int, float]:
    """Steps and seconds."""
    looker.restart()
    start = time.perf_counter()
    return way(), time.perf_counter() - start


def report(measured: dict[str, list[tuple[int, float]]]) -> None:
    """Prints each way's steps per second, and how many times openpi's that is."""
    rates = {name: statistics.median(steps / seconds for steps, seconds in runs) for name, runs in measured.items()}
    reference = next(rate for name, rate in rates.items() if name.endswith(f"replan {REPLAN}"))
    for name, rate in rates.items():
        print(f"{name:<28} {rate:6.1f} steps/s, {rate / reference:5.2f} × every step, replan {REPLAN}")


def options_of_command() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_object")
    parser.add_argument("--task", type=int, default=0)
    parser.add_argument("--policy", metavar="FOLDER", help="default: the small π0 that ships with the project")
    parser.add_argument("--denoise-steps", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=256, help="side of the camera images (default: 256)")
    parser.add_argument("--steps", type=int, default=100, help="control steps of a play (default: 100)")
    parser.add_argument("--repeats", type=int, default=5)
    return parser.parse_args()


def main() -> None:
    """Prints steps per second and ratios."""
    options = options_of_command()
    suite, task, size = options.suite, options.task, options.image_size
    torch.set_num_threads(1)
    policy = PI0_OFT_Policy(pretrained_path=options.policy, num_steps=options.denoise_steps)
    benchmark = LiberoBenchmark(suite)
    looker = Looker(policy, benchmark.get_language(task))
    stock = make_control_env(benchmark.get_bddl_file(task), size, render_images=True)
    renders: tuple[Render, Render] = ("exact", "fast")
    ours = {render: LiberoEnv(suite, task, size, render=render) for render in renders}
    state = ours["exact"].reset(scene_seed=0).init_state
    ways = all_ways(stock, ours, state, options.steps, looker)
    measured: dict[str, list[tuple[int, float]]] = {name: [] for name in ways}
    for _ in progress_bar(range(options.repeats), desc="repeats"):
        for name, way in ways.items():
            measured[name].append(play(way, looker))
    print(f"{suite} task {task}, two cameras at {size}², {options.denoise_steps} denoising steps, one core")
    report(measured)
    for env in (*ours.values(), stock):
        env.close()


if __name__ == "__main__":
    main()
