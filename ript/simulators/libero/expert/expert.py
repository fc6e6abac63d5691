"""The expert: a generator of actions that works through the conditions of a task's goal."""

from collections.abc import Callable
from typing import Any

from ript.simulators.libero.expert.fixtures import close_door, close_drawer, open_drawer, turn_knob
from ript.simulators.libero.expert.motion import Motion
from ript.simulators.libero.expert.pick_place import pick_and_place
from ript.simulators.libero.expert.scene import Predicate, Scene

_ROUNDS = 3
"""How often every condition is tried."""


def put_in(scene: Scene, goal: Predicate) -> Motion:
    """Opens a closed drawer first."""
    assert goal.target is not None
    drawer = Predicate("open", goal.target, None)
    if scene.has_joint(goal.target) and not scene.holds(drawer):
        yield from open_drawer(scene, drawer)
    yield from pick_and_place(scene, goal)


def close(scene: Scene, goal: Predicate) -> Motion:
    """Closes a drawer or a door."""
    is_door = scene.joint(goal.item).is_hinge
    yield from (close_door if is_door else close_drawer)(scene, goal)


_SKILLS: dict[str, Callable[[Scene, Predicate], Motion]] = {
    "open": open_drawer,
    "turnon": turn_knob,
    "turnoff": turn_knob,
    "in": put_in,
    "on": pick_and_place,
    "close": close,
}
"""What brings a condition about, in the order in which conditions are worked on."""


def expert_actions(simulator: Any) -> Motion:
    """Actions (7,) in [-1, 1] for an environment that was just reset, until the task should be solved.

    Each is computed from the state at that moment, so the caller must execute one (it may add noise) before it asks for
    the next, and stop when the task is solved or its time is up. The actions may end without success.

    Raises:
        NotImplementedError: no skill brings about one of the goal's conditions.
    """
    scene = Scene(simulator)
    unknown = sorted({predicate.name for predicate in scene.goal} - set(_SKILLS))
    if unknown:
        raise NotImplementedError(f"the expert has no skill for {', '.join(unknown)}")
    order = list(_SKILLS)
    for _ in range(_ROUNDS):
        for predicate in sorted(scene.goal, key=lambda predicate: order.index(predicate.name)):
            if not scene.holds(predicate):
                yield from _SKILLS[predicate.name](scene, predicate)
