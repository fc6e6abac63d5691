"""What holds in words before and after each task: which starts a task has, and which task may follow another.

A `State` says in words where everything is. The rules are those of CALVIN's long-horizon evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import permutations, product
from typing import NamedTuple

from ript.simulators.calvin.tasks import COLORS

State = Mapping[str, str | int]
"""`led`, `lightbulb` and `grasped` (the hand holds something) are 0 or 1, `slider` is right or left, `drawer` closed or
open; `red_block`, `blue_block` and `pink_block` are where the block is."""

SLIDER_PLACES = ("slider_right", "slider_left")
PLACES = ("table", *SLIDER_PLACES)
"""Where blocks are when an evaluation of CALVIN starts; later they may be in the `drawer`, `grasped` or stacked."""

_ONLY_LATER = {"drawer", "grasped", "stacked_top", "stacked_bottom"}


class Change(NamedTuple):
    """What a task does to a state."""

    before: Mapping[str, str | int | tuple[str, ...]]
    """What must hold; of a tuple any."""
    after: State
    """What holds then; all else stays."""

    def holds_in(self, state: State) -> bool:
        """Whether the task can begin in the state."""
        return all(
            state[key] in wanted if isinstance(wanted, tuple) else state[key] == wanted
            for key, wanted in self.before.items()
        )


@cache
def initial_states() -> tuple[State, ...]:
    """The 192 states in which CALVIN's evaluation begins, in its order."""
    keys = ("led", "lightbulb", "slider", "drawer", *map(_block, COLORS))
    values: list[tuple[str | int, ...]] = [(0, 1), (0, 1), ("right", "left"), ("closed", "open"), *[PLACES] * 3]
    found: list[State] = []
    for chosen in product(*values):
        blocks = chosen[4:]
        if blocks.count("table") in (1, 2) and all(blocks.count(place) < 2 for place in SLIDER_PLACES):
            found.append({**dict(zip(keys, chosen, strict=True)), "grasped": 0})
    return tuple(found)


@cache
def changes(task: str) -> tuple[Change, ...]:
    """The ways to do a task; which of them, the state says."""
    verb, *rest = task.split("_")
    color = next((color for color in COLORS if color in rest), "")
    if verb in ("rotate", "push") and color:
        return (_free({_block(color): "table"}, {}),)
    if verb == "lift":
        return tuple(_free(before, {_block(color): "grasped", "grasped": 1}) for before in _held(color, rest[-1]))
    return tuple(_OTHERS[task]())


@cache
def states_before(task: str) -> tuple[State, ...]:
    """All states in which a task can begin: initial states, with what only comes later where the task needs it."""
    found: list[State] = []
    for change in changes(task):
        later = {key: value for key, value in change.before.items() if value in _ONLY_LATER or key == "grasped"}
        for state in initial_states():
            changed: State = {**state, **later}  # type: ignore[dict-item]  # no tuple is among them
            if change.holds_in(changed) and changed not in found:
                found.append(changed)
    return tuple(found)


def _block(color: str) -> str:
    return f"{color}_block"


def _free(before: Mapping[str, str | int | tuple[str, ...]], after: State) -> Change:
    """With nothing in the hand."""
    return Change({**before, "grasped": 0}, after)


def _held(color: str, place: str) -> Iterator[State]:
    """From where a block is lifted: out of the cabinet only beside the door."""
    if place == "slider":
        for door, free in (("right", "slider_left"), ("left", "slider_right")):
            yield {_block(color): free, "slider": door}
    else:
        yield {_block(color): place, **({"drawer": "open"} if place == "drawer" else {})}


def _place_in_slider() -> Iterator[Change]:
    for color, door in product(COLORS, ("right", "left")):
        before: State = {_block(color): "grasped", "slider": door, "grasped": 1}
        yield Change(before, {_block(color): f"slider_{door}", "grasped": 0})


def _place_in_drawer() -> Iterator[Change]:
    for color in COLORS:
        before: State = {_block(color): "grasped", "drawer": "open", "grasped": 1}
        yield Change(before, {_block(color): "drawer", "grasped": 0})


def _stack_block() -> Iterator[Change]:
    for top, bottom in permutations(map(_block, COLORS), 2):
        after: State = {top: "stacked_top", bottom: "stacked_bottom", "grasped": 0}
        yield Change({top: "grasped", bottom: "table", "grasped": 1}, after)


def _unstack_block() -> Iterator[Change]:
    for top, bottom in permutations(map(_block, COLORS), 2):
        yield _free({top: "stacked_top", bottom: "stacked_bottom"}, {top: "table", bottom: "table"})


def _push_into_drawer() -> Iterator[Change]:
    for color in COLORS:
        others = {_block(other): SLIDER_PLACES for other in COLORS if other != color}
        yield _free({_block(color): "table", **others, "drawer": "open"}, {_block(color): "drawer", "grasped": 0})


_OTHERS = {
    "move_slider_left": lambda: [_free({"slider": "right"}, {"slider": "left"})],
    "move_slider_right": lambda: [_free({"slider": "left"}, {"slider": "right"})],
    "open_drawer": lambda: [_free({"drawer": "closed"}, {"drawer": "open"})],
    "close_drawer": lambda: [_free({"drawer": "open"}, {"drawer": "closed"})],
    "turn_on_lightbulb": lambda: [_free({"lightbulb": 0}, {"lightbulb": 1})],
    "turn_off_lightbulb": lambda: [_free({"lightbulb": 1}, {"lightbulb": 0})],
    "turn_on_led": lambda: [_free({"led": 0}, {"led": 1})],
    "turn_off_led": lambda: [_free({"led": 1}, {"led": 0})],
    "place_in_slider": _place_in_slider,
    "place_in_drawer": _place_in_drawer,
    "push_into_drawer": _push_into_drawer,
    "stack_block": _stack_block,
    "unstack_block": _unstack_block,
}
