"""What LIBERO's demonstration files hold of one step."""

from collections.abc import Mapping

import numpy as np

from ript.env_runner.pi0_runner_utils import IMAGE_KEYS, raw_state


def images_of(observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """π0's name of each camera → its image as LIBERO renders it: upside down."""
    return {camera: observation[key] for camera, key in IMAGE_KEYS.items()}


def row_of(
    state: np.ndarray, observation: Mapping[str, np.ndarray], action: np.ndarray, commanded: np.ndarray
) -> dict[str, np.ndarray]:
    """Dataset name → the step's entry.

    Args:
        state: flattened simulator state (D,).
        observation: robosuite's proprioception, with `robot0_joint_pos`.
        action: what is executed (7,), the label.
        commanded: the same without noise (7,).
    """
    pose, fingers = raw_state(observation)[:6], observation["robot0_gripper_qpos"]
    parts = [fingers, observation["robot0_eef_pos"], observation["robot0_eef_quat"]]
    return {
        "actions": action,
        "expert_actions": commanded,
        "states": state,
        "robot_states": np.concatenate(parts, dtype=np.float64),
        "obs/ee_states": pose,
        "obs/ee_pos": pose[:3],
        "obs/ee_ori": pose[3:],
        "obs/gripper_states": fingers,
        "obs/joint_states": observation["robot0_joint_pos"],
    }
