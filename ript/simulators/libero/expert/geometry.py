"""Rotations and points on surfaces; pure functions of arrays."""

import mujoco
import numpy as np

_AREA_PER_POINT = 1.2e-4
"""Square metres of surface for each sampled point: a point per 1.1 cm square."""
_MAX_POINTS = 3000
_GRID = 0.012
"""Distance in metres of points on the faces of boxes."""


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) → axis · angle (3,) in radians, the angle in [0, π]."""
    vector = np.array(
        [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    )
    angle = float(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return np.zeros(3) if angle < 1e-6 else vector * angle / (2 * np.sin(angle) + 1e-9)


def hand_rotation(approach: np.ndarray, closing_axis: np.ndarray) -> np.ndarray:
    """Rotation (3, 3) of a hand that points along `approach` (3,) and closes along `closing_axis` (3,).

    Both are unit vectors, at a right angle.
    """
    return np.stack([closing_axis, np.cross(approach, closing_axis), approach], axis=1)


def geom_points(model: mujoco.MjModel, geom: int) -> np.ndarray:
    """Points (N, 3) on the surface of a geom, in its own frame; none for planes and the like."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        return mesh_points(*_mesh(model, model.geom_dataid[geom]))
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return box_points(size)
    if kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        return box_points(np.array([size[0], size[0], size[1]]))
    return np.zeros((0, 3))


def mesh_points(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) of a mesh, thinned out, and points spread over its faces (F, 3), which may be large and flat."""
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    thinned = vertices[:: max(1, 2 * len(vertices) // _MAX_POINTS)]
    count = int(min(_MAX_POINTS, areas.sum() / _AREA_PER_POINT))
    if count <= len(thinned):
        return thinned
    rng = np.random.default_rng(0)
    chosen = corners[rng.choice(len(faces), count, p=areas / areas.sum())]
    root, second = np.sqrt(rng.random((count, 1))), rng.random((count, 1))
    spread = (1 - root) * chosen[:, 0] + root * (1 - second) * chosen[:, 1] + root * second * chosen[:, 2]
    return np.concatenate([thinned, spread])


def box_points(half_size: np.ndarray) -> np.ndarray:
    """A grid (N, 3) on the faces of a box around the origin."""
    axes = [np.linspace(-half, half, max(2, int(np.ceil(2 * half / _GRID)) + 1)) for half in half_size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[(np.abs(np.abs(grid) - half_size) < 1e-9).any(axis=1)]


def _mesh(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    first_vertex, first_face = model.mesh_vertadr[mesh], model.mesh_faceadr[mesh]
    vertices = model.mesh_vert[first_vertex : first_vertex + model.mesh_vertnum[mesh]]
    return vertices, model.mesh_face[first_face : first_face + model.mesh_facenum[mesh]]
