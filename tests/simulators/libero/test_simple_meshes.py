"""Meshes with one vertex per cube: against shapes whose result is known."""

import mujoco
import numpy as np
import pytest

from ript.simulators.libero.simple_meshes import with_simple_meshes

TETRAHEDRON = "0 0 0  1 0 0  0 1 0  0 0 1"


def model_of(**vertices):
    """A model with a mesh of each name, of the convex hull of its vertices."""
    meshes = "".join(f'<mesh name="{name}" vertex="{points}"/>' for name, points in vertices.items())
    geoms = "".join(f'<geom type="mesh" mesh="{name}"/>' for name in vertices)
    return mujoco.MjModel.from_xml_string(f"<mujoco><asset>{meshes}</asset><worldbody>{geoms}</worldbody></mujoco>")


def ball(count=2000):
    points = np.random.default_rng(0).normal(size=(count, 3))
    return " ".join(map(str, (points / np.linalg.norm(points, axis=1, keepdims=True)).ravel()))


def drawn(model, name):
    """The mesh's triangles as `(faces, 3, 3)` coordinates, with the normal of each corner."""
    mesh = model.mesh(name).id
    first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
    vertices = model.mesh_vert[model.mesh_vertadr[mesh] :]
    normals = model.mesh_normal[model.mesh_normaladr[mesh] :]
    faces = slice(first, first + count)
    return vertices[model.mesh_face[faces]], normals[model.mesh_facenormal[faces]]


def test_a_mesh_whose_vertices_lie_far_apart_stays_as_it_is():
    model = model_of(tetrahedron=TETRAHEDRON)
    for ours, original in zip(
        drawn(with_simple_meshes(model, 0.1), "tetrahedron"), drawn(model, "tetrahedron"), strict=True
    ):
        np.testing.assert_array_equal(ours, original)


def test_a_ball_stays_a_closed_ball_of_its_size_with_fewer_faces():
    model, cell = model_of(ball=ball(), tetrahedron=TETRAHEDRON), 0.2
    triangles, normals = drawn(with_simple_meshes(model, cell), "ball")
    before = len(drawn(model, "ball")[0])
    assert before / 8 < len(triangles) < before / 3
    radii = np.linalg.norm(triangles, axis=-1)
    assert (1 - cell / 2 < radii).all() and (radii < 1.05).all()  # the hull's centre is the ball's, nearly
    outwards = triangles.mean(axis=1) / np.linalg.norm(triangles.mean(axis=1), axis=1, keepdims=True)
    assert ((normals.mean(axis=1) * outwards).sum(axis=1) > 0.8).all()
    faced = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert ((faced * outwards).sum(axis=1) > 0).mean() > 0.95
    corners = np.unique(triangles.reshape(-1, 3), axis=0)
    assert len(np.unique(np.floor(corners / cell), axis=0)) > len(corners) / 2  # cubes need not begin at 0


def test_each_triangle_has_three_corners_and_comes_once():
    triangles, _ = drawn(with_simple_meshes(model_of(ball=ball()), 0.3), "ball")
    names = [frozenset(map(tuple, corners)) for corners in triangles]
    assert all(len(corners) == 3 for corners in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("field", ["mesh_vert", "mesh_face", "mesh_facenum", "mesh_facenormal", "mesh_facetexcoord"])
def test_the_model_itself_is_not_changed(field):
    model = model_of(ball=ball())
    before = getattr(model, field).copy()
    with_simple_meshes(model, 0.2)
    np.testing.assert_array_equal(getattr(model, field), before)
