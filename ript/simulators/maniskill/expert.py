"""Scripted experts: a way of the hand through the scene, followed with a proportional controller.

A way is planned once, from where ManiSkill says the objects are at the start. Blocks are grasped without turning the
hand: the fingers turn them as they close.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ript.simulators.maniskill.scene import TaskScene

OPEN, CLOSED = 1.0, -1.0
GAIN = 8.0
"""Commands, in tenths of a metre, per metre of the way that is left: the arm goes about half of a command in a step."""
FASTEST = 0.6
"""Of a command, whose limit is 1."""
_UP = np.array([0, 0, 1.0])
_CLEAR = 0.1
"""Metres above an object that the hand comes and goes."""
_GRASP_STEPS = 4
_REACHED = 0.008
_MOST_STEPS = 40
"""Of a part of the way: noise may keep the hand from ever being quite there."""


class Part(NamedTuple):
    """One straight part of a way."""

    to: np.ndarray
    """Where the hand goes `(3,)`, in metres."""
    gripper: float
    stay: int = 0
    """Steps to stay there: for the fingers to close or open."""
    within: float = _REACHED
    """Metres that count as there."""


class Follower:
    """Gives the commands that follow a way.

    Args:
        parts: the way; the last one is held.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts, self._steps, self._stayed = list(parts), 0, 0

    def command(self, hand: np.ndarray) -> np.ndarray:
        """The next command `(7,)`, from where the hand is `(3,)`."""
        part = self._parts[0]
        self._steps += 1
        if np.linalg.norm(part.to - hand) < part.within or self._steps > _MOST_STEPS:
            self._stayed += 1
            if self._stayed > part.stay and len(self._parts) > 1:
                self._parts.pop(0)
                self._steps = self._stayed = 0
                part = self._parts[0]
        move = np.clip(GAIN * (part.to - hand), -FASTEST, FASTEST)
        return np.concatenate([move, np.zeros(3), [part.gripper]])


def _grasp(at: np.ndarray) -> list[Part]:
    above = at + _CLEAR * _UP
    return [Part(above, OPEN, within=0.02), Part(at, OPEN), Part(at, CLOSED, _GRASP_STEPS, within=0.03)]


def _release(at: np.ndarray, gone: float = _CLEAR) -> list[Part]:
    return [Part(at, CLOSED), Part(at, OPEN, _GRASP_STEPS, within=0.03), Part(at + gone * _UP, OPEN)]


def _pick_cube(scene: TaskScene) -> list[Part]:
    cube, goal = scene.position("cube"), scene.position("goal_site")
    return [*_grasp(cube), Part(goal, CLOSED, within=0.0)]


def _slide(scene: TaskScene, side: float) -> list[Part]:
    """The cube before the fingers to the goal; they come down on the side −1, behind it, or 1, in front of it."""
    cube, goal = scene.position("obj"), scene.position("goal_region")
    start = cube + np.array([side * 0.06, 0, 0])
    end = np.array([goal[0] + side * 0.03, cube[1], cube[2]])
    return [Part(start + _CLEAR * _UP, CLOSED, within=0.02), Part(start, CLOSED), Part(end, CLOSED)]


def _stack_cube(scene: TaskScene) -> list[Part]:
    red, green = scene.position("cubeA"), scene.position("cubeB")
    on_top = green + 0.042 * _UP
    over = on_top + 0.06 * _UP
    return [*_grasp(red), Part(red + _CLEAR * _UP, CLOSED, within=0.02), Part(over, CLOSED, 2), *_release(on_top)]


def _place_sphere(scene: TaskScene) -> list[Part]:
    ball, bin_ = scene.position("obj"), scene.position("bin")
    inside = np.array([bin_[0], bin_[1], ball[2] + 0.01])
    over = inside + _CLEAR * _UP
    return [*_grasp(ball), Part(ball + _CLEAR * _UP, CLOSED, within=0.02), Part(over, CLOSED, 2), *_release(inside)]


PLANS: Mapping[str, Callable[[TaskScene], list[Part]]] = {
    "PickCube-v1": _pick_cube,
    "PushCube-v1": lambda scene: _slide(scene, -1.0),
    "PullCube-v1": lambda scene: _slide(scene, 1.0),
    "StackCube-v1": _stack_cube,
    "PlaceSphere-v1": _place_sphere,
}
"""Task → its way, for the tasks that have an expert."""
