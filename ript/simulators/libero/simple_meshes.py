"""Meshes with fewer faces, for pictures that need not be exact."""

import copy

import numpy as np
from mujoco import MjModel


def with_simple_meshes(model: MjModel, cell: float) -> MjModel:
    """A copy of the model, to draw from, whose meshes have one vertex per cube of `cell` metres.

    The vertices in a cube become their mean, and faces that have no three vertices left are gone (Rossignac and Borrel,
    "Multi-resolution 3D approximations for rendering complex scenes", 1993). Faces keep their normals and textures.
    """
    simple = copy.copy(model)
    for mesh in range(model.nmesh):
        _simplify(simple, mesh, cell)
    return simple


def _simplify(model: MjModel, mesh: int, cell: float) -> None:
    vertices = _part(model.mesh_vert, model.mesh_vertadr[mesh], model.mesh_vertnum[mesh])
    faces, normals, textures = (
        _part(array, model.mesh_faceadr[mesh], model.mesh_facenum[mesh])
        for array in (model.mesh_face, model.mesh_facenormal, model.mesh_facetexcoord)
    )
    cubes, first, cube_of, count = np.unique(
        _cubes(vertices, cell), return_index=True, return_inverse=True, return_counts=True
    )
    corners = cube_of[faces]
    kept = _distinct_triangles(corners, len(cubes))
    means = [np.bincount(cube_of, vertices[:, axis]) / count for axis in range(3)]
    vertices[first] = np.stack(means, axis=1)
    for array, simple in ((faces, first[corners]), (normals, normals.copy()), (textures, textures.copy())):
        array[: len(kept)] = simple[kept]
    model.mesh_facenum[mesh] = len(kept)


def _part(array: np.ndarray, start: int, count: int) -> np.ndarray:
    """The rows of one mesh, to be written into."""
    return array[start : start + count]


def _cubes(vertices: np.ndarray, cell: float) -> np.ndarray:
    """(N,) the number of the cube that each vertex `(N, 3)` lies in."""
    places = np.floor((vertices - vertices.min(axis=0)) / cell).astype(np.int64)
    return np.ravel_multi_index(tuple(places.T), tuple(places.max(axis=0) + 1))


def _distinct_triangles(corners: np.ndarray, count: int) -> np.ndarray:
    """The rows `(M,)` of `corners` (N, 3) that have three different numbers below `count`, each set of three once."""
    ordered = np.sort(corners, axis=1)
    proper = np.flatnonzero((ordered[:, 0] != ordered[:, 1]) & (ordered[:, 1] != ordered[:, 2]))
    _, first = np.unique(np.ravel_multi_index(tuple(ordered[proper].T), (count,) * 3), return_index=True)
    return np.sort(proper[first])
