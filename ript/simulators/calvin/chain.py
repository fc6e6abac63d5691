"""The rows of five tasks of CALVIN's long-horizon evaluation: its own 1,000, in its order, from its starts."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from ript.simulators.calvin.changes import State, changes, initial_states
from ript.simulators.calvin.starts import place
from ript.simulators.calvin.tasks import INSTRUCTIONS

CHAINS, LENGTH = 1000, 5


class Chain(NamedTuple):
    """Tasks that are told one after the other."""

    state: State
    """Where everything is before the first."""
    tasks: tuple[str, ...]

    @property
    def start(self) -> np.ndarray:
        """The start `(39,)`, which CALVIN seeds with a hash of the state's values."""
        return place(self.state, np.random.RandomState(fnv_32(str(self.state.values()))))


def evaluation_chains(count: int = CHAINS) -> list[Chain]:
    """CALVIN's chains: as many from each initial state, shuffled. Another count is another set, as in CALVIN."""
    states = initial_states()
    shares = [len(part) for part in np.array_split(range(count), len(states))]
    found = [
        Chain(state, tasks)
        for number, (state, share) in enumerate(zip(states, shares, strict=True))
        for tasks in _draw(state, share, np.random.RandomState(number))
    ]
    np.random.RandomState(0).shuffle(found)  # type: ignore[arg-type]
    return found


def follows(state: State, tasks: tuple[str, ...]) -> bool:
    """Whether the tasks can be done in this order, each in one way, and no two of them are of one kind."""
    if len({kind(task) for task in tasks}) < len(tasks):
        return False
    for task in tasks:
        possible = [change for change in changes(task) if change.holds_in(state)]
        if len(possible) != 1:
            return False
        state = {**state, **possible[0].after}
    return True


@cache
def kind(task: str) -> str:
    """What a chain has once at most: lifting counts by place, all turning and pushing on the table as one."""
    verb, *rest = task.split("_")
    if verb == "lift":
        return f"lift {rest[-1]}"
    if verb in ("rotate", "push") and task != "push_into_drawer":
        return "rotate or push"
    return {"open": "drawer", "close": "drawer", "push": task}.get(verb, verb)


def fnv_32(text: str) -> int:
    """The 32-bit FNV hash of the text that starts at 0, as CALVIN's pyhash does.

    http://www.isthe.com/chongo/tech/comp/fnv/
    """
    value = 0
    for byte in text.encode():
        value = (value * 16777619 & 0xFFFFFFFF) ^ byte
    return value


def _draw(state: State, count: int, random: np.random.RandomState) -> list[tuple[str, ...]]:
    names = list(INSTRUCTIONS)
    found: list[tuple[str, ...]] = []
    while len(found) < count:
        tasks = tuple(names[index] for index in random.permutation(len(names))[:LENGTH])  # as NumPy's `choice` does
        if follows(state, tasks):
            found.append(tasks)
    return found
