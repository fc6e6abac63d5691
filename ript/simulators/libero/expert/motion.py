"""The expert's basic motions: generators of OSC_POSE commands, each computed from what is seen at that moment.

A motion yields one action (7,) in [-1, 1] per control step and expects that it was executed (perhaps disturbed) before
the next is asked for. So motions are chained by `yield from`, and whoever drives them may stop at any step.
"""

from collections.abc import Callable, Iterator

import numpy as np

from ript.simulators.libero.expert.geometry import hand_rotation
from ript.simulators.libero.expert.scene import Pose, Scene

Motion = Iterator[np.ndarray]

OPEN, CLOSED = -1.0, 1.0
"""Gripper commands."""

DOWN = np.array([0.0, 0.0, -1.0])

_STEP = 0.05
"""Metres that a translation command of 1 asks for."""
_TURN = 0.5
"""Radians that a rotation command of 1 asks for."""
_MAX_TURN = 0.6
_NEAR = 0.03
"""Metres from a goal within which the hand settles."""
_SLACK_PER_STEP = 0.1


def nearest_rotation(scene: Scene, approach: np.ndarray, closing_axis: np.ndarray) -> np.ndarray:
    """Of the two hands that point along `approach` and close along an axis, the one for which the wrist turns less."""
    choices = [hand_rotation(approach, closing_axis), hand_rotation(approach, -closing_axis)]
    return min(choices, key=lambda rotation: float(np.linalg.norm(scene.home.turn_to(rotation))))


def command(hand: Pose, goal: Pose, gripper: float, gain: float = 1.0, speed: float = 1.0) -> np.ndarray:
    """The action (7,) that brings the hand towards a goal, its translation at most `speed` in each direction."""
    move = gain * (goal.position - hand.position) / _STEP
    move *= min(1.0, speed / max(np.abs(move).max(), 1e-9))
    turn = np.clip(hand.turn_to(goal.rotation) / _TURN, -_MAX_TURN, _MAX_TURN)
    return np.concatenate([move, turn, [gripper]])


def move_to(
    scene: Scene,
    goal: Pose,
    gripper: float,
    *,
    tolerance: float = 0.008,
    angle: float = 0.08,
    max_steps: int = 80,
    speed: float = 1.0,
) -> Motion:
    """Moves until the hand is within `tolerance` metres and `angle` radians of the goal, or the steps are used up.

    The longer the hand stays near, the more is tolerated: disturbed commands never bring it to rest.
    """
    lag = np.zeros(3)  # the controller stops short of its goal; this integral of the error takes it there
    slack = 1.0
    for _ in range(max_steps):
        hand = scene.hand()
        error = goal.position - hand.position
        distance = np.linalg.norm(error)
        if distance < slack * tolerance and np.linalg.norm(hand.turn_to(goal.rotation)) < slack * angle:
            return
        if distance < _NEAR:
            lag = np.clip(lag + 0.15 * error, -0.03, 0.03)
            slack += _SLACK_PER_STEP
        yield command(hand, Pose(goal.position + lag, goal.rotation), gripper, gain=1.6, speed=speed)


def hold(scene: Scene, goal: Pose, gripper: float, steps: int) -> Motion:
    """Stays at a goal while the fingers move."""
    for _ in range(steps):
        yield command(scene.hand(), goal, gripper)


def follow(
    scene: Scene, goal: Callable[[Pose], Pose | None], gripper: float, *, max_steps: int, gain: float, speed: float
) -> Motion:
    """Moves towards a goal that depends on where the hand is, until it is None or the steps are used up."""
    for _ in range(max_steps):
        hand = scene.hand()
        target = goal(hand)
        if target is None:
            return
        yield command(hand, target, gripper, gain, speed)
