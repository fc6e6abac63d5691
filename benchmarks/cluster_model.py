"""A model, not a measurement: how fast a larger cluster would iterate, from what its parts cost on one machine.

    python benchmarks/cluster_model.py
    python benchmarks/cluster_model.py --nodes 16 --envs 16 --learners 4 --inference-s 0.2 --gradient-step-s 3

A node plays as the runner does: in turns, each one inference for all its running rollouts and then a chunk in each of
them, which takes as long as the longest; a free simulator takes the next rollout of the same request. Requests are
dealt out evenly and played one after the other. The update is shared out over the learners without loss, and the
network is free but for `--weights-s`. Defaults are of the small π0 on a 2-core CPU: docs/performance.md (libero_object,
fast images), and a run of CFG-Flow.
"""

import argparse
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Costs:
    """What things take, in seconds, and how many of them there are in an iteration."""

    step_s: float = 0.0079
    """of a control step of a simulator, without pictures"""
    picture_s: float = 0.04
    """of a picture"""
    pictures: int = 2
    """that the policy looks at"""
    inference_s: float = 0.045
    """of an inference call on a node with a GPU, whatever the batch"""
    cpu_inference_s: float = 0.045
    """of an inference call on a node without one, per rollout of the batch"""
    open_loop: int = 10
    """executed steps per inference"""
    gradient_step_s: float = 0.74
    """of a gradient step on one learner"""
    gradient_steps: int = 132
    """per iteration"""
    weights_s: float = 0.03
    """to bring new weights to all workers, once per iteration"""
    requests: int = 16
    """per iteration, of rollouts of one task"""
    rollouts: int = 8
    """of a request"""
    success: float = 0.7
    """share of episodes that end before the limit"""
    mean_steps: float = 105.0
    """of those, normally distributed"""
    std_steps: float = 15.0
    """of those"""
    limit: int = 150
    """steps of all others"""


@dataclass(frozen=True)
class Placement:
    """Who plays and who learns."""

    name: str
    players: int
    """Nodes that play."""
    learners: int
    has_gpu: bool
    """Of a node that plays."""
    is_shared: bool = False
    """The nodes that play are those that learn, so that they do one at a time."""


@dataclass(frozen=True)
class Outcome:
    """Means over iterations."""

    rollout_s: float
    update_s: float
    iteration_s: float
    learners_idle: float
    """Share of an iteration in which a learner takes no gradient step."""
    simulators_idle: float
    """Share of an iteration in which a simulator neither steps nor draws."""


def placements(nodes: int, learners: int) -> list[Placement]:
    """Three ways to use so many nodes, of which so many learn unless all do."""
    return [
        Placement("colocated", nodes, nodes, has_gpu=True, is_shared=True),
        Placement("simulator nodes", nodes - learners, learners, has_gpu=False),
        Placement("split", nodes - learners, learners, has_gpu=True),
    ]


def play(lengths: Sequence[int], envs: int, costs: Costs, has_gpu: bool) -> tuple[float, float]:
    """One request on one node: wall seconds, and the seconds that its simulators work, added up."""
    waiting, running = deque(lengths), [0] * envs
    wall = busy = 0.0
    while waiting or any(running):
        running = [left or (waiting.popleft() if waiting else 0) for left in running]
        active = [min(left, costs.open_loop) for left in running if left]
        chunks = [steps * costs.step_s + costs.pictures * costs.picture_s for steps in active]
        wall += (costs.inference_s if has_gpu else costs.cpu_inference_s * len(active)) + max(chunks)
        busy += sum(chunks)
        running = [max(0, left - costs.open_loop) for left in running]
    return wall, busy


def draw_lengths(costs: Costs, rng: np.random.Generator) -> np.ndarray:
    """Steps of an iteration's episodes, (requests, rollouts)."""
    shape = (costs.requests, costs.rollouts)
    done = np.clip(np.rint(rng.normal(costs.mean_steps, costs.std_steps, shape)), 1, costs.limit)
    return np.where(rng.random(shape) < costs.success, done, costs.limit).astype(int)


def simulate(where: Placement, envs: int, costs: Costs, staleness: int, iterations: int = 20, seed: int = 0) -> Outcome:
    """`iterations` of a run in its steady state. Staleness 1 plays the next rollouts while the update goes on."""
    if staleness and where.is_shared:
        raise ValueError("staleness=1 is not valid where the nodes that play are those that learn")
    rng = np.random.default_rng(seed)
    rollout_s, busy_s = np.zeros((2, iterations))
    for iteration in range(iterations):
        played = np.array([play(row, envs, costs, where.has_gpu) for row in draw_lengths(costs, rng).tolist()])
        nodes = [played[node :: where.players, 0].sum() for node in range(where.players)]
        rollout_s[iteration] = max(nodes) + costs.weights_s * (not where.is_shared)
        busy_s[iteration] = played[:, 1].sum()
    update_s = costs.gradient_steps * costs.gradient_step_s / where.learners
    iteration_s = np.maximum(rollout_s, update_s) if staleness else rollout_s + update_s
    mean = float(iteration_s.mean())
    working = float(busy_s.mean()) / (where.players * envs)
    return Outcome(float(rollout_s.mean()), update_s, mean, 1 - update_s / mean, 1 - working / mean)


def table(nodes: int, envs: int, learners: int, costs: Costs, seed: int) -> list[str]:
    """A row per placement and staleness."""
    columns = ("placement", "play", "learn", "staleness", "rollouts", "update", "iterations per hour")
    columns = (*columns, "learners idle", "simulators idle")
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for where in placements(nodes, learners):
        for staleness in (0,) if where.is_shared else (0, 1):
            found = simulate(where, envs, costs, staleness, seed=seed)
            cells = (where.name, where.players, where.learners, staleness)
            times = (f"{found.rollout_s:.0f} s", f"{found.update_s:.0f} s", f"{3600 / found.iteration_s:.0f}")
            idle = (f"{found.learners_idle:.0%}", f"{found.simulators_idle:.0%}")
            lines.append(f"| {' | '.join(map(str, (*cells, *times, *idle)))} |")
    return lines


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=8, help="machines in all (default: %(default)s)")
    parser.add_argument(
        "--envs", type=int, default=8, help="simulators of a node, one core each (default: %(default)s)"
    )
    parser.add_argument("--learners", type=int, default=2, help="nodes that learn, if not all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the lengths of episodes (default: %(default)s)")
    for field in fields(Costs):
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=type(field.default), default=field.default, help=f"default: {field.default}")
    options = vars(parser.parse_args())
    nodes, envs, learners, seed = (options.pop(name) for name in ("nodes", "envs", "learners", "seed"))
    if not 1 <= learners < nodes or envs < 1:
        parser.error("--envs must be at least 1, and --learners from 1 to one less than --nodes")
    if any(value < 0 for value in options.values()) or min(options["open_loop"], options["limit"]) < 1:
        parser.error("costs and counts cannot be negative, and --open-loop and --limit must be at least 1")
    print(f"A model, not a measurement: {nodes} nodes, {envs} simulators on each that plays.\n")
    print("\n".join(table(nodes, envs, learners, Costs(**options), seed)))


if __name__ == "__main__":
    main()
