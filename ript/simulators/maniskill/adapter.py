"""From ManiSkill's observation to π0's, and back from π0's actions to ManiSkill's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import actions_to_env, actions_to_labels
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.maniskill.env import ACTION_DIM, IMAGE, STATE, STATE_DIM


class ManiSkillAdapter:
    """ManiSkill's conventions and one policy's normalisation: an `Adapter`.

    The scene's camera alone: this robot has no wrist camera, so a policy must mask it. Commands are π0's actions as
    they are.
    """

    cameras = ("base_0_rgb",)
    state_dim, action_dim = STATE_DIM, ACTION_DIM

    def __init__(self, norm_stats: NormStats, delta_actions: bool):
        self._norm_stats, self._delta_actions = norm_stats, delta_actions

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`{"image": {"base_0_rgb": (S, S, 3) uint8, upright}, "state": (9,) float32, "prompt": prompt}`."""
        state = self._norm_stats.state.normalize(self.raw_state(raw))
        return {"image": {"base_0_rgb": _get(raw, IMAGE)}, "state": state, "prompt": prompt}

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Proprioception (9,) float64: pose of the hand (m, quaternion), positions of the fingers (m)."""
        return np.array(_get(raw, STATE), np.float64)

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_env`: (H, 7) → (H, 7)."""
        return actions_to_env(chunk, self._norm_stats, state if self._delta_actions else None)

    def to_labels(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_labels`: (H, 7) → (H, 7)."""
        return actions_to_labels(actions, self._norm_stats, state if self._delta_actions else None)


def _get(raw: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in raw:
        raise KeyError(f"the observation has no {key!r}; it has {sorted(raw)}")
    return raw[key]
