"""Pick an object up and put it where a goal wants it."""

import numpy as np

from ript.simulators.libero.expert.grasp import Grasp, plan_grasp
from ript.simulators.libero.expert.motion import CLOSED, DOWN, OPEN, Motion, follow, hold, move_to, nearest_rotation
from ript.simulators.libero.expert.scene import Pose, Predicate, Scene

_CLEARANCE = 0.025
"""Metres between a carried object and what it passes over."""


def pick_and_place(scene: Scene, goal: Predicate) -> Motion:
    """One try; gives up early when there is no grasp or the object was not lifted."""
    assert goal.target is not None
    grasp = plan_grasp(scene, goal.item)
    if grasp is None:
        return
    rotation = nearest_rotation(scene, DOWN, np.array([*grasp.closing_axis, 0.0]))
    yield from _reach(scene, goal.item, grasp, rotation)
    load = Load(scene, goal, rotation)
    yield from hold(scene, Pose(grasp.position, rotation), CLOSED, 10)
    carry_height = load.carry_height()
    lifted = np.array([*grasp.position[:2], max(grasp.position[2] + 0.05, carry_height)])
    yield from move_to(scene, Pose(lifted, rotation), CLOSED, tolerance=0.02, max_steps=50)
    if not load.follows_hand():
        up = scene.hand().position + np.array([0, 0, 0.03])
        yield from move_to(scene, Pose(up, rotation), OPEN, tolerance=0.02, max_steps=15)
        return
    yield from load.transport(carry_height)
    yield from load.lower()
    yield from _release(scene, rotation)


def _reach(scene: Scene, item: str, grasp: Grasp, rotation: np.ndarray) -> Motion:
    """Over the obstacles, then straight down."""
    obstacles = scene.obstacles(item)
    near = obstacles[np.linalg.norm(obstacles[:, :2] - grasp.position[:2], axis=1) < 0.12]
    safe = max(scene.points(item)[:, 2].max() + 0.05, near[:, 2].max(initial=-np.inf) + 0.03)
    above = np.array([*grasp.position[:2], safe])
    shortly_above = grasp.position + np.array([0, 0, 0.03])
    yield from move_to(scene, Pose(above, rotation), OPEN, tolerance=0.02, angle=0.15)
    yield from move_to(scene, Pose(shortly_above, rotation), OPEN)
    yield from move_to(scene, Pose(grasp.position, rotation), OPEN, tolerance=0.006, max_steps=30, speed=0.5)


def _release(scene: Scene, rotation: np.ndarray) -> Motion:
    place = scene.hand().position
    above = Pose(place + np.array([0, 0, 0.12]), rotation)
    yield from hold(scene, Pose(place, rotation), OPEN, 8)
    yield from move_to(scene, above, OPEN, tolerance=0.03, max_steps=25)
    yield from hold(scene, above, OPEN, 4)


class Load:
    """The object between the fingers and the place it is for; made before the object is lifted."""

    def __init__(self, scene: Scene, goal: Predicate, rotation: np.ndarray) -> None:
        assert goal.target is not None
        self._scene, self._goal = scene, goal
        self._item = goal.item
        self._rotation = rotation
        self._into = goal.name == "in"
        self._start = scene.position(self._item)[2]
        self._hand_start = scene.hand().position[2]
        self._below_hand = self._hand_start - scene.points(self._item)[:, 2].min()
        self._support = _support_height(scene, goal)
        self._rim = _rim_height(scene, goal.target)

    def carry_height(self) -> float:
        """Height of the hand at which the object passes over everything on its straight way."""
        obstacles = self._scene.obstacles(self._item)
        start, end = self._scene.hand().position[:2], self._scene.place(self._goal)[:2]
        way = end - start
        progress = np.clip((obstacles[:, :2] - start) @ way / max(way @ way, 1e-6), 0, 1)
        distance = np.linalg.norm(obstacles[:, :2] - (start + progress[:, None] * way), axis=1)
        highest = obstacles[distance < 0.09, 2].max(initial=self._support)
        return max(highest, self._rim) + self._below_hand + _CLEARANCE

    def follows_hand(self) -> bool:
        """Whether the object rose with the hand."""
        rise = self._scene.position(self._item)[2] - self._start
        return bool(rise >= 0.4 * (self._scene.hand().position[2] - self._hand_start))

    def transport(self, height: float) -> Motion:
        """Moves the object over its place."""

        def goal(hand: Pose) -> Pose | None:
            over = self._over_target(hand)
            arrived = np.linalg.norm(over - hand.position[:2]) < 0.012
            return None if arrived else Pose(np.array([*over, height]), self._rotation)

        yield from follow(self._scene, goal, CLOSED, max_steps=60, gain=1.6, speed=1.0)

    def lower(self) -> Motion:
        """Lowers the object until it stands, or until the hand no longer sinks."""
        bottom = self._lowest_hand()
        heights: list[float] = []

        def goal(hand: Pose) -> Pose | None:
            height = hand.position[2]
            heights.append(height)
            stalled = len(heights) > 6 and heights[-5] - height < 0.0032
            if height < bottom + 0.006 or stalled:
                return None
            return Pose(np.array([*self._over_target(hand), max(bottom, height - 0.04)]), self._rotation)

        yield from follow(self._scene, goal, CLOSED, max_steps=60, gain=1.3, speed=1.0)

    def _over_target(self, hand: Pose) -> np.ndarray:
        """Where (2,) the hand must be for the object to be over its place."""
        held = hand.position - self._scene.position(self._item)
        return (self._scene.place(self._goal) + held)[:2]

    def _lowest_hand(self) -> float:
        standing = self._support + self._below_hand + 0.006
        # A hand does not fit into a basket: the object is dropped from just below the rim.
        return max(standing + 0.024, self._rim - 0.03) if self._into else standing


def _support_height(scene: Scene, goal: Predicate) -> float:
    """Height of the surface on which the item will stand."""
    assert goal.target is not None
    centre = scene.place(goal)
    if scene.parent(goal.target) is None:
        return float(centre[2])
    points = scene.part_points(goal.target)
    near = points[np.linalg.norm(points[:, :2] - centre[:2], axis=1) < 0.02, 2]
    return float(near.max()) if len(near) else float(centre[2])


def _rim_height(scene: Scene, target: str) -> float:
    if scene.parent(target) is None:
        return float(scene.position(target)[2])
    return float(scene.part_points(target)[:, 2].max())
