"""From LIBERO's observation to π0's, and back from π0's actions to LIBERO's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ript.models.pi0.norm_stats import NormStats

IMAGE_KEYS = {"base_0_rgb": "agentview_image", "left_wrist_0_rgb": "robot0_eye_in_hand_image"}
"""π0's camera name → LIBERO's observation key."""


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
    position, quat, gripper = (_get(obs, key) for key in ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"))
    return np.concatenate([position, quat_to_axis_angle(quat), gripper]).astype(np.float64)


def images_to_pi0(obs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """LIBERO's images (H, W, 3) uint8 under π0's names, turned by 180°: LIBERO's come upside down."""
    return {name: np.ascontiguousarray(_get(obs, key)[::-1, ::-1]) for name, key in IMAGE_KEYS.items()}


def libero_obs_to_pi0(obs: Mapping[str, np.ndarray], norm_stats: NormStats, prompt: str) -> dict[str, Any]:
    """One LIBERO observation → `{"image": {name: (H, W, 3) uint8}, "state": (8,) float32, "prompt"}`.

    Both images are upright. A missing key is a KeyError that names it.
    """
    return {"image": images_to_pi0(obs), "state": norm_stats.state.normalize(raw_state(obs)), "prompt": prompt}


def collate_observations(observations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Single observations → one batch: images (B, H, W, 3), state (B, 8), B prompts."""
    names = observations[0]["image"]
    return {
        "image": {name: np.stack([obs["image"][name] for obs in observations]) for name in names},
        "state": np.stack([obs["state"] for obs in observations]),
        "prompt": [obs["prompt"] for obs in observations],
    }


def actions_to_env(normalized: np.ndarray, norm_stats: NormStats, start_state: np.ndarray | None) -> np.ndarray:
    """Normalised chunk (H, 7) → LIBERO's OSC commands (H, 7) float64.

    With `delta_actions` the first six dimensions are relative to the chunk's raw start state (8,); else pass None.
    """
    actions = norm_stats.actions.unnormalize(normalized)
    if start_state is not None:
        actions[..., :6] += start_state[:6]
    return actions


def actions_to_labels(actions: np.ndarray, norm_stats: NormStats, start_state: np.ndarray | None) -> np.ndarray:
    """LIBERO's commands (H, 7) → normalised labels (H, 7) float32; the inverse of `actions_to_env`."""
    raw = np.array(actions, np.float64)
    if start_state is not None:
        raw[..., :6] -= start_state[:6]
    return norm_stats.actions.normalize(raw)


def _get(obs: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in obs:
        raise KeyError(f"the observation has no {key!r}; it has {sorted(obs)}")
    return obs[key]
