"""What the expert sees: where hand, objects and goals are, straight from the simulator."""

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from ript.simulators.libero.expert.geometry import geom_points, rotation_vector

_COLLISION, _VISUAL = 0, 1
"""robosuite's geom groups."""
_FLOORS = ("table", "floor", "countertop")
"""Endings of fixtures on which everything stands; they are in nobody's way."""

_SPREAD = 0.6
"""How far apart objects that share a region are put, as a fraction of its size."""


@dataclass(frozen=True)
class Pose:
    """A hand's pose in the world."""

    position: np.ndarray
    """(3,) metres, between the finger tips."""
    rotation: np.ndarray
    """(3, 3); columns: the axis along which the fingers close, the one across, the one in which the hand points."""

    def turn_to(self, rotation: np.ndarray) -> np.ndarray:
        """The rotation (3,), axis · angle in radians, that turns this pose's into `rotation`."""
        return rotation_vector(rotation @ self.rotation.T)


@dataclass(frozen=True)
class Predicate:
    """One condition of a task's goal."""

    name: str
    """`on`, `in`, `open`, `close`, `turnon` or `turnoff`."""
    item: str
    """The object, or the part of a fixture."""
    target: str | None
    """The object or site that receives the item; None for conditions of one argument."""


@dataclass(frozen=True)
class Joint:
    """The joint of a drawer, knob or door, at this moment."""

    is_hinge: bool
    axis: np.ndarray
    """(3,) unit vector in the world: of rotation, or of sliding."""
    anchor: np.ndarray
    """(3,) a point on the axis, in metres."""
    value: float
    """Radians or metres."""
    points: np.ndarray
    """(N, 3) the visible surface of what it moves."""


class Scene:
    """A view of a running robosuite environment; all positions are those of this moment.

    Args:
        simulator: LIBERO's `BDDLBaseDomain`, already reset.
    """

    home: Pose
    """The hand's pose when the view was made."""

    def __init__(self, simulator: Any) -> None:
        self.simulator = simulator
        self._model: mujoco.MjModel = simulator.sim.model._model
        self._shapes: dict[int, list[tuple[int, int, np.ndarray]]] = {}
        self.home = self.hand()

    @property
    def goal(self) -> list[Predicate]:
        """The conditions that together mean success."""
        states = self.simulator.parsed_problem["goal_state"]
        return [Predicate(state[0], state[1], state[2] if len(state) == 3 else None) for state in states]

    def holds(self, predicate: Predicate) -> bool:
        """Whether a condition is met."""
        arguments = [predicate.item] if predicate.target is None else [predicate.item, predicate.target]
        return bool(self.simulator._eval_predicate([predicate.name, *arguments]))

    def hand(self) -> Pose:
        """Where the hand is."""
        site = self._model.site("gripper0_grip_site").id
        return Pose(self._data.site_xpos[site].copy(), self._data.site_xmat[site].reshape(3, 3).copy())

    def place(self, predicate: Predicate) -> np.ndarray:
        """Where (3,) the item of an `on` or `in` belongs: the target's centre, or its share of a region for several."""
        assert predicate.target is not None
        centre = self.position(predicate.target)
        items = [other.item for other in self.goal if other.target == predicate.target]
        if len(items) == 1 or not self.is_site(predicate.target):
            return centre
        half_size = self.frame(predicate.target) * self.half_size(predicate.target)
        longest = half_size[:, int(np.argmax(np.linalg.norm(half_size[:2], axis=0)))]
        return centre + longest * np.linspace(-_SPREAD, _SPREAD, len(items))[items.index(predicate.item)]

    def is_site(self, name: str) -> bool:
        """Whether a goal's target is a region rather than an object."""
        return name in self.simulator.object_sites_dict

    def parent(self, target: str) -> str | None:
        """The object or fixture that a target belongs to; None for regions of the table."""
        return self.simulator.object_sites_dict[target].parent_name if self.is_site(target) else target

    def position(self, name: str) -> np.ndarray:
        """Centre (3,) of an object, fixture or site in metres."""
        if self.is_site(name):
            return self._data.site_xpos[self._model.site(name).id].copy()
        return self._data.xpos[self._root(name)].copy()

    def frame(self, name: str) -> np.ndarray:
        """Rotation (3, 3) of an object, fixture or site."""
        if self.is_site(name):
            return self._data.site_xmat[self._model.site(name).id].reshape(3, 3).copy()
        return self._data.xmat[self._root(name)].reshape(3, 3).copy()

    def half_size(self, site: str) -> np.ndarray:
        """Half extents (3,) of a site in its own frame."""
        return np.asarray(self.simulator.object_sites_dict[site].size, np.float64)

    def has_joint(self, name: str) -> bool:
        """Whether a site or fixture is a part that moves, like a drawer."""
        return bool(self._joint_names(name))

    def joint(self, name: str) -> Joint:
        """The joint of a site's part, or a fixture's first one."""
        joint = self._model.joint(self._joint_names(name)[0]).id
        return Joint(
            is_hinge=bool(self._model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE),
            axis=self._data.xaxis[joint].copy(),
            anchor=self._data.xanchor[joint].copy(),
            value=float(self._data.qpos[self._model.jnt_qposadr[joint]]),
            points=self._body_points(int(self._model.jnt_bodyid[joint]), visible=True),
        )

    def points(self, name: str) -> np.ndarray:
        """Points (N, 3) on the visible surface of an object or fixture."""
        return self._body_points(self._root(name), visible=True)

    def part_points(self, target: str) -> np.ndarray:
        """Points (N, 3) on the body that carries a site (a drawer, a burner), or on the whole object."""
        if not self.is_site(target):
            return self.points(target)
        return self._body_points(int(self._model.site_bodyid[self._model.site(target).id]), visible=True)

    def obstacles(self, item: str) -> np.ndarray:
        """Points (N, 3) of everything but `item`, the table and the robot."""
        names = [*self.simulator.objects_dict, *self.simulator.fixtures_dict]
        others = [name for name in names if name != item and not name.endswith(_FLOORS)]
        clouds = [self._body_points(self._root(name), visible=False) for name in others]
        return np.concatenate(clouds) if clouds else np.zeros((0, 3))

    @property
    def _data(self) -> mujoco.MjData:
        return self.simulator.sim.data._data

    def _joint_names(self, name: str) -> list[str]:
        if self.is_site(name):
            return list(self.simulator.object_sites_dict[name].joints or [])
        return list(self.simulator.get_object(name).joints) if name in self.simulator.fixtures_dict else []

    def _root(self, name: str) -> int:
        return int(self._model.body(self.simulator.get_object(name).root_body).id)

    def _body_points(self, body: int, visible: bool) -> np.ndarray:
        shapes = self._body_shapes(body)
        if visible and any(group == _VISUAL for _, group, _ in shapes):
            shapes = [shape for shape in shapes if shape[1] == _VISUAL]
        clouds = [
            points @ self._data.geom_xmat[geom].reshape(3, 3).T + self._data.geom_xpos[geom]
            for geom, _, points in shapes
        ]
        return np.concatenate(clouds) if clouds else np.zeros((0, 3))

    def _body_shapes(self, body: int) -> list[tuple[int, int, np.ndarray]]:
        """(geom, group, points in the geom's frame) of a body and the bodies it carries."""
        if body not in self._shapes:
            geoms = [geom for geom in range(self._model.ngeom) if self._carries(body, self._model.geom_bodyid[geom])]
            groups = [int(self._model.geom_group[geom]) for geom in geoms]
            shapes = [(geom, group, self._points_of(geom, group)) for geom, group in zip(geoms, groups, strict=True)]
            self._shapes[body] = [shape for shape in shapes if len(shape[2])]
        return self._shapes[body]

    def _carries(self, body: int, part: int) -> bool:
        while part not in (0, body):
            part = int(self._model.body_parentid[part])
        return part == body

    def _points_of(self, geom: int, group: int) -> np.ndarray:
        is_mesh = self._model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH
        wanted = group in (_COLLISION, _VISUAL) if is_mesh else group == _COLLISION
        return geom_points(self._model, geom) if wanted else np.zeros((0, 3))
