"""Where to grasp an object from above."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ript.simulators.libero.expert.scene import Scene

_OPENING = 0.078
"""Metres between the open fingers."""
_OPEN_TOPPED = ("bowl", "ramekin", "mug", "plate")
"""Objects that are held by their rim when they are too wide."""
_FINGER_TIPS = 0.018
"""How far below a rim the finger tips go, in metres."""
_FINGER_WIDTH = 0.014
"""Half the width of a finger in metres, with a margin."""


@dataclass(frozen=True)
class Grasp:
    """A hand pose that points down."""

    position: np.ndarray
    """(3,) between the finger tips, in metres."""
    closing_axis: np.ndarray
    """(2,) unit vector along which the fingers close."""
    cost: float
    """Lower is better; 5 for every point of another object in the way."""


def plan_grasp(scene: Scene, item: str) -> Grasp | None:
    """The best grasp of an object as it lies now; None if it is too wide everywhere."""
    points = scene.points(item)
    obstacles = scene.obstacles(item)
    is_wide = np.ptp(points[:, :2], axis=0).min() > 0.075
    if is_wide and any(word in item for word in _OPEN_TOPPED):
        candidates = _rim_grasps(scene, item, points, obstacles)
    else:
        candidates = _body_grasps(scene, points, obstacles)
    return min(candidates, key=lambda grasp: grasp.cost, default=None)


def _rim_grasps(scene: Scene, item: str, points: np.ndarray, obstacles: np.ndarray) -> Iterator[Grasp]:
    """One finger inside, one outside, all around the rim, which may be tilted."""
    frame, origin = scene.frame(item), scene.position(item)
    local = (points - origin) @ frame
    up = int(np.argmax(np.abs(frame[2])))
    sign = np.sign(frame[2, up])
    lateral = [axis for axis in range(3) if axis != up]
    height = local[:, up] * sign
    rim = local[height > height.max() - 0.006][:, lateral]
    centre = (rim.min(0) + rim.max(0)) / 2
    radius = np.percentile(np.linalg.norm(rim - centre, axis=1), 90)
    for angle in np.linspace(0, 2 * np.pi, 48, endpoint=False):
        middle, point = np.zeros(3), np.zeros(3)
        middle[lateral] = centre
        point[lateral] = centre + (radius - 0.006) * np.array([np.cos(angle), np.sin(angle)])
        middle[up] = point[up] = sign * height.max()
        outward = frame @ (point - middle)
        axis = outward[:2] / np.linalg.norm(outward[:2])
        position = frame @ point + origin - np.array([0, 0, _FINGER_TIPS])
        tilt = abs(outward[2])
        cost = 5 * points_in_the_way(position, axis, obstacles) + 60 * tilt + _wrist_turn(scene, axis)
        yield Grasp(position, axis, cost)


def _body_grasps(scene: Scene, points: np.ndarray, obstacles: np.ndarray) -> Iterator[Grasp]:
    """Both fingers outside, around the whole object where it is narrow enough, else around a part, like a handle."""
    middle = (points[:, :2].max(axis=0) + points[:, :2].min(axis=0)) / 2
    for angle in np.linspace(0, np.pi, 36, endpoint=False):
        axis = np.array([np.cos(angle), np.sin(angle)])
        across = np.array([-axis[1], axis[0]])
        aside = points[:, :2] @ across
        for offset in (None, *np.arange(aside.min() + 0.01, aside.max(), 0.01)):
            part = points if offset is None else points[np.abs(aside - offset) < _FINGER_WIDTH]
            grasp = _around(scene, part, points[:, 2].min(), axis, obstacles)
            if grasp is None:
                continue
            if offset is None:
                yield grasp
            elif not _hits_itself(grasp, points):
                lever = float(np.linalg.norm(grasp.position[:2] - middle))
                yield dataclasses.replace(grasp, cost=grasp.cost + 0.3 + 15 * lever)


def _around(scene: Scene, part: np.ndarray, bottom: float, axis: np.ndarray, obstacles: np.ndarray) -> Grasp | None:
    """The grasp of the upper end of some points along an axis; None where they are too wide."""
    if not len(part):
        return None
    across = np.array([-axis[1], axis[0]])
    top = part[:, 2].max()
    height = max(bottom + 0.016, top - min(0.035, 0.55 * (top - bottom)))
    upper = part[part[:, 2] > height - 0.015, :2]
    along, aside = upper @ axis, upper @ across
    width = np.ptp(along)
    if width > _OPENING:
        return None
    centre = axis * (along.max() + along.min()) / 2 + across * (aside.max() + aside.min()) / 2
    position = np.array([*centre, height])
    cost = 5 * points_in_the_way(position, axis, obstacles)
    return Grasp(position, axis, cost + 60 * max(0.0, width - 0.05) + 0.5 * _wrist_turn(scene, axis))


def _hits_itself(grasp: Grasp, points: np.ndarray) -> bool:
    """Whether the open fingers or the hand would come down on the object that they grasp a part of."""
    along, aside, height = _seen_from_hand(grasp.position, grasp.closing_axis, points)
    fingers = (np.abs(along - 0.052) < 0.011) & (aside < _FINGER_WIDTH) & (height > -0.012)
    return bool((fingers | _in_hand(along, aside, height)).any())


def points_in_the_way(position: np.ndarray, closing_axis: np.ndarray, obstacles: np.ndarray) -> int:
    """How many points (N, 3) the open fingers and the hand above them would hit on their way down."""
    along, aside, height = _seen_from_hand(position, closing_axis, obstacles)
    fingers = (np.abs(along - 0.05) < 0.019) & (aside < 0.018) & (height > -0.014)
    return int(fingers.sum() + _in_hand(along, aside, height).sum())


def _seen_from_hand(
    position: np.ndarray, closing_axis: np.ndarray, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances (N,) of points from the middle between the fingers: along the closing axis, across it, and upwards."""
    across = np.array([-closing_axis[1], closing_axis[0]])
    offset = points - position
    return np.abs(offset[:, :2] @ closing_axis), np.abs(offset[:, :2] @ across), offset[:, 2]


def _in_hand(along: np.ndarray, aside: np.ndarray, height: np.ndarray) -> np.ndarray:
    """Which points (N,) are where the hand is, or passes on its way down."""
    return (along < 0.115) & (aside < 0.042) & (height > 0.042)


def _wrist_turn(scene: Scene, axis: np.ndarray) -> float:
    home = scene.home.rotation[:2, 0]
    return float(np.arccos(np.clip(abs(axis @ home) / np.linalg.norm(home), 0, 1)))
