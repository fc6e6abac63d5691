import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ript.simulators.libero.expert.geometry import box_points, hand_rotation, mesh_points, rotation_vector
from ript.simulators.libero.expert.grasp import points_in_the_way


@pytest.mark.parametrize("seed", range(5))
def test_rotation_vectors_are_scipys(seed):
    rotation = Rotation.random(random_state=seed)
    np.testing.assert_allclose(rotation_vector(rotation.as_matrix()), rotation.as_rotvec(), atol=1e-6)


def test_no_rotation_is_zero():
    np.testing.assert_array_equal(rotation_vector(np.eye(3)), np.zeros(3))


def test_a_hand_points_and_closes_where_it_is_told():
    rotation = hand_rotation(np.array([0.0, 0.0, -1.0]), np.array([0.6, 0.8, 0.0]))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_array_equal(rotation[:, 2], [0, 0, -1])


def test_points_of_a_box_are_on_its_faces_and_close_together():
    half = np.array([0.05, 0.03, 0.002])
    points = box_points(half)
    assert (np.abs(points) <= half + 1e-12).all()
    assert np.isclose(np.abs(points), half).any(axis=1).all()
    rng = np.random.default_rng(0)
    for spot in rng.uniform(-half, half, (50, 3)) * [1, 1, 0] + [0, 0, half[2]]:
        assert np.linalg.norm(points - spot, axis=1).min() < 0.01


def test_large_triangles_are_covered_with_points():
    corners = np.array([[0, 0, 0], [0.4, 0, 0], [0, 0.4, 0]])
    points = mesh_points(corners, np.array([[0, 1, 2]]))
    assert (points[:, :2].sum(axis=1) <= 0.4 + 1e-9).all() and (points >= 0).all()
    assert np.linalg.norm(points - [0.13, 0.13, 0], axis=1).min() < 0.03


def test_obstacles_count_where_fingers_and_hand_come_down():
    position, axis = np.zeros(3), np.array([0.0, 1.0])
    finger, hand = [0.0, 0.05, 0.0], [0.03, -0.1, 0.06]
    between, below, beside = [0.0, 0.0, 0.0], [0.0, 0.05, -0.05], [0.06, 0.0, 0.06]
    assert points_in_the_way(position, axis, np.array([finger, hand])) == 2
    assert points_in_the_way(position, axis, np.array([between, below, beside])) == 0
