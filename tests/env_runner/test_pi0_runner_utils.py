from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.env_runner.pi0_runner_utils import (
    actions_to_env,
    actions_to_labels,
    collate_observations,
    libero_obs_to_pi0,
    quat_to_axis_angle,
    raw_state,
)
from ript.models.pi0.norm_stats import NormStats

STATS = NormStats.load(DEFAULT_FOLDER / "norm_stats.json")


def libero_observation(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "agentview_image": rng.integers(0, 256, (6, 6, 3), dtype=np.uint8),
        "robot0_eye_in_hand_image": rng.integers(0, 256, (6, 6, 3), dtype=np.uint8),
        "robot0_eef_pos": rng.normal(size=3),
        "robot0_eef_quat": Rotation.random(random_state=seed).as_quat(),
        "robot0_gripper_qpos": rng.normal(size=2),
    }


def test_images_are_turned_by_180_degrees() -> None:
    obs = libero_observation()
    images = libero_obs_to_pi0(obs, STATS, "x")["image"]
    np.testing.assert_array_equal(images["base_0_rgb"], np.rot90(obs["agentview_image"], 2))
    np.testing.assert_array_equal(images["left_wrist_0_rgb"], np.rot90(obs["robot0_eye_in_hand_image"], 2))
    assert images["base_0_rgb"].dtype == np.uint8


@pytest.mark.parametrize("seed", range(5))
def test_the_axis_angle_is_the_rotation_of_the_quaternion(seed: int) -> None:
    quat = Rotation.random(random_state=seed).as_quat()
    angle = quat_to_axis_angle(quat)
    assert (Rotation.from_rotvec(angle) * Rotation.from_quat(quat).inv()).magnitude() < 1e-7
    np.testing.assert_array_equal(quat_to_axis_angle(np.array([0.0, 0, 0, 1])), np.zeros(3))


def test_the_angle_is_not_wrapped_as_in_openpi() -> None:
    quat = np.array([0.0, 0.0, np.sin(1.8), np.cos(1.8)])  # a turn of 3.6 rad, more than π
    np.testing.assert_allclose(quat_to_axis_angle(quat), [0, 0, 3.6], atol=1e-9)


def test_the_state_is_position_axis_angle_and_fingers() -> None:
    obs = libero_observation()
    state = raw_state(obs)
    np.testing.assert_array_equal(state[:3], obs["robot0_eef_pos"])
    np.testing.assert_array_equal(state[6:], obs["robot0_gripper_qpos"])
    pi0 = libero_obs_to_pi0(obs, STATS, "x")["state"]
    np.testing.assert_allclose(STATS.state.unnormalize(pi0), state, atol=1e-6)


@pytest.mark.parametrize("key", list(libero_observation()))
def test_a_missing_key_is_an_error_that_names_it(key: str) -> None:
    obs = libero_observation()
    del obs[key]
    with pytest.raises(KeyError, match=key):
        libero_obs_to_pi0(obs, STATS, "x")


@pytest.mark.parametrize("start_state", [None, np.arange(8.0)])
def test_labels_and_commands_are_inverse(start_state: np.ndarray | None) -> None:
    commands = np.random.default_rng(0).uniform(-1, 1, (50, 7))
    labels = actions_to_labels(commands, STATS, start_state)
    np.testing.assert_allclose(actions_to_env(labels, STATS, start_state), commands, atol=1e-6)


def test_delta_actions_move_the_first_six_dimensions_only() -> None:
    chunk = np.zeros((2, 7), np.float32)
    state = np.arange(1.0, 9.0)
    difference = actions_to_env(chunk, STATS, state) - actions_to_env(chunk, STATS, None)
    np.testing.assert_allclose(difference, np.tile([1, 2, 3, 4, 5, 6, 0], (2, 1)))


def test_a_batch_is_its_observations_stacked() -> None:
    singles = [libero_obs_to_pi0(libero_observation(seed), STATS, f"task {seed}") for seed in range(3)]
    batch = collate_observations(singles)
    assert batch["prompt"] == ["task 0", "task 1", "task 2"]
    assert batch["state"].shape == (3, 8)
    np.testing.assert_array_equal(batch["image"]["base_0_rgb"][2], singles[2]["image"]["base_0_rgb"])
