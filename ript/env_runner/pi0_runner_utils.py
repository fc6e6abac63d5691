"""From LIBERO's observation to π0's, and back from π0's actions to LIBERO's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import (
    NormalizedActions,
    actions_to_env,
    actions_to_labels,
    collate_observations,
    part_of,
)
from ript.models.pi0.norm_stats import NormStats

__all__ = [
    "IMAGE_KEYS",
    "LiberoAdapter",
    "actions_to_env",
    "actions_to_labels",
    "collate_observations",
    "images_to_pi0",
    "libero_obs_to_pi0",
    "quat_to_axis_angle",
    "raw_state",
]

IMAGE_KEYS = {"base_0_rgb": "agentview_image", "left_wrist_0_rgb": "robot0_eye_in_hand_image"}
"""π0's camera name → LIBERO's observation key."""


class LiberoAdapter(NormalizedActions):
    """LIBERO's conventions and one policy's normalisation: an `Adapter`.

    Commands are π0's actions as they are: changes of position and axis-angle, gripper −1 open to 1 closed.
    """

    cameras = tuple(IMAGE_KEYS)
    """π0's names of LIBERO's cameras."""
    state_dim, action_dim = 8, 7

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`libero_obs_to_pi0`."""
        return libero_obs_to_pi0(raw, self._norm_stats, prompt)

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """The function `raw_state`."""
        return raw_state(raw)


def quat_to_axis_angle(quat: np.ndarray) -> np.ndarray:
    """Quaternion (x, y, z, w) → axis · angle (3,), as openpi's LIBERO example computes it (no angle wrapping)."""
    w = float(np.clip(quat[3], -1.0, 1.0))
    sine = np.sqrt(1.0 - w * w)
    if sine < 1e-8:
        return np.zeros(3)
    return np.asarray(quat[:3], np.float64) * 2.0 * np.arccos(w) / sine


def raw_state(obs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Proprioception (8,) float64: position (m), axis-angle (rad), finger positions (m).

    Raises KeyError naming a missing key.
    """
    position, quat, gripper = (
        part_of(obs, key) for key in ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
    )
    return np.concatenate([position, quat_to_axis_angle(quat), gripper]).astype(np.float64)


def images_to_pi0(obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """LIBERO's images (H, W, 3) uint8 under π0's names, turned by 180°: LIBERO's come upside down."""
    return {name: np.ascontiguousarray(part_of(obs, key)[::-1, ::-1]) for name, key in IMAGE_KEYS.items()}


def libero_obs_to_pi0(obs: Mapping[str, np.ndarray], norm_stats: NormStats, prompt: str) -> dict[str, Any]:
    """One LIBERO observation → `{"image": {name: (H, W, 3) uint8}, "state": (8,) float32, "prompt"}`.

    Both images are upright. A missing key is a KeyError that names it.
    """
    return {"image": images_to_pi0(obs), "state": norm_stats.state.normalize(raw_state(obs)), "prompt": prompt}
