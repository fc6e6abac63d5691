"""Open and close drawers, close doors, turn knobs."""

import numpy as np

from ript.simulators.libero.expert.motion import CLOSED, DOWN, OPEN, Motion, follow, hold, move_to, nearest_rotation
from ript.simulators.libero.expert.scene import Joint, Pose, Predicate, Scene

_UP = -DOWN
_BAR = 0.016
"""Depth of a drawer's handle in metres."""


def open_drawer(scene: Scene, goal: Predicate) -> Motion:
    """Grasps the handle's bar from the front, pulls, and goes back to where the hand started."""
    outward = _outward(scene.joint(goal.item))
    rotation = nearest_rotation(scene, -outward, _UP)
    handle = _handle(scene.joint(goal.item), outward)
    yield from move_to(scene, Pose(handle + 0.1 * outward, rotation), OPEN, tolerance=0.015, max_steps=100)
    yield from move_to(scene, Pose(handle, rotation), OPEN, tolerance=0.006, max_steps=40, speed=0.5)
    yield from hold(scene, Pose(handle, rotation), CLOSED, 8)

    def pull(hand: Pose) -> Pose | None:
        if scene.holds(goal):
            return None
        return Pose(hand.position + 0.05 * outward, rotation)

    yield from follow(scene, pull, CLOSED, max_steps=50, gain=1.0, speed=0.7)
    yield from _let_go(scene, rotation, outward)


def close_drawer(scene: Scene, goal: Predicate) -> Motion:
    """Pushes the handle with closed fingers."""
    outward = _outward(scene.joint(goal.item))
    # Tilted: flat, the arm would not reach low drawers; upright, the hand would hit the handles above.
    approach = (DOWN - outward) / np.sqrt(2)
    rotation = nearest_rotation(scene, approach, np.cross(outward, _UP))
    front = _handle(scene.joint(goal.item), outward) + 0.07 * outward
    above = np.array([*front[:2], max(front[2], scene.hand().position[2])])
    yield from move_to(scene, Pose(above, rotation), CLOSED, tolerance=0.02, max_steps=100)
    yield from move_to(scene, Pose(front, rotation), CLOSED, tolerance=0.015, max_steps=60)

    def push(hand: Pose) -> Pose | None:
        if scene.holds(goal):
            return None
        return Pose(_handle(scene.joint(goal.item), outward) - 0.04 * outward, rotation)

    yield from follow(scene, push, CLOSED, max_steps=80, gain=1.2, speed=0.8)
    yield from _let_go(scene, rotation, outward)


def close_door(scene: Scene, goal: Predicate) -> Motion:
    """Pushes a door's outer face near its edge with closed fingers, around the hinge."""
    rotation = nearest_rotation(scene, DOWN, np.array([0.0, 1.0, 0.0]))

    def place(ahead: float) -> np.ndarray:
        """Where the finger tips are at the door's edge, `ahead` metres along the way it closes."""
        door = scene.joint(goal.item)
        arm = (door.points - door.anchor)[:, :2]
        reach = np.linalg.norm(arm, axis=1)
        edge = arm[reach > reach.max() - 0.02].mean(axis=0)
        way = np.cross(door.axis, [*edge, 0.0])[:2] / np.linalg.norm(edge)
        height = door.points[:, 2].max() - 0.035
        return np.array([*(door.anchor[:2] + 0.8 * edge + ahead * way), height])

    behind = place(-0.08)
    yield from move_to(scene, Pose(behind + 0.12 * _UP, rotation), CLOSED, tolerance=0.02, max_steps=100)
    yield from move_to(scene, Pose(behind, rotation), CLOSED, tolerance=0.015)

    def push(hand: Pose) -> Pose | None:
        return None if scene.holds(goal) else Pose(place(0.05), rotation)

    yield from follow(scene, push, CLOSED, max_steps=120, gain=1.0, speed=0.7)
    yield from move_to(scene, Pose(place(-0.1) + 0.1 * _UP, rotation), CLOSED, tolerance=0.03, max_steps=40)


def turn_knob(scene: Scene, goal: Predicate) -> Motion:
    """Grasps a knob's ridge from above and turns the wrist, with the axis for `turnon`, against it for `turnoff`."""
    knob = scene.joint(goal.item)
    ridge = knob.points[knob.points[:, 2] > knob.points[:, 2].max() - 0.015]
    centre = (ridge.max(axis=0) + ridge.min(axis=0)) / 2
    along = np.linalg.svd(ridge[:, :2] - ridge[:, :2].mean(axis=0), full_matrices=False)[2][0]
    rotation = nearest_rotation(scene, DOWN, np.array([-along[1], along[0], 0.0]))
    grasp = np.array([*centre[:2], ridge[:, 2].max() - 0.012])
    yield from move_to(scene, Pose(grasp + 0.08 * _UP, rotation), OPEN, tolerance=0.015)
    yield from move_to(scene, Pose(grasp, rotation), OPEN, tolerance=0.006, max_steps=40, speed=0.5)
    yield from hold(scene, Pose(grasp, rotation), CLOSED, 8)
    step = (0.3 if goal.name == "turnon" else -0.3) * float(np.sign(knob.axis[2]))

    def turn(hand: Pose) -> Pose | None:
        return None if scene.holds(goal) else Pose(grasp, _about_vertical(step) @ hand.rotation)

    yield from follow(scene, turn, CLOSED, max_steps=50, gain=1.0, speed=0.5)
    turned = scene.hand().rotation
    yield from hold(scene, Pose(grasp, turned), OPEN, 6)
    yield from move_to(scene, Pose(grasp + 0.12 * _UP, turned), OPEN, tolerance=0.03, angle=1.0, max_steps=30)


def _outward(drawer: Joint) -> np.ndarray:
    """The direction (3,) in which a drawer opens: LIBERO's open at negative values."""
    return -drawer.axis


def _handle(drawer: Joint, outward: np.ndarray) -> np.ndarray:
    """Centre (3,) of the bar, which is what sticks out most."""
    distance = drawer.points @ outward
    bar = drawer.points[distance > distance.max() - _BAR]
    centre = (bar.max(axis=0) + bar.min(axis=0)) / 2
    return centre + (distance.max() - _BAR / 2 - centre @ outward) * outward


def _let_go(scene: Scene, rotation: np.ndarray, outward: np.ndarray) -> Motion:
    """Opens the fingers, steps back and returns to the pose of the start."""
    place = scene.hand().position
    yield from hold(scene, Pose(place, rotation), OPEN, 6)
    yield from move_to(scene, Pose(place + 0.08 * outward, rotation), OPEN, tolerance=0.02, max_steps=25)
    yield from move_to(scene, scene.home, OPEN, tolerance=0.05, angle=0.3, max_steps=60)


def _about_vertical(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
