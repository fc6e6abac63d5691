"""From MetaWorld's observation to π0's, and back from π0's actions to MetaWorld's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import actions_to_env, actions_to_labels
from ript.models.pi0.norm_stats import NormStats
from ript.simulators.metaworld.env import ACTION_DIM, IMAGE, STATE, STATE_DIM


class MetaWorldAdapter:
    """MetaWorld's conventions and one policy's normalisation: an `Adapter`.

    The scene's camera alone: there is no wrist camera, so a policy must mask it. Commands are π0's actions as they are.
    """

    cameras = ("base_0_rgb",)
    state_dim, action_dim = STATE_DIM, ACTION_DIM

    def __init__(self, norm_stats: NormStats, delta_actions: bool):
        self._norm_stats, self._delta_actions = norm_stats, delta_actions

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`{"image": {"base_0_rgb": (S, S, 3) uint8, upright}, "state": (4,) float32, "prompt": prompt}`."""
        image = np.ascontiguousarray(_get(raw, IMAGE)[::-1, ::-1])
        state = self._norm_stats.state.normalize(self.raw_state(raw))
        return {"image": {"base_0_rgb": image}, "state": state, "prompt": prompt}

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Proprioception (4,) float64: position of the hand (m), opening of the gripper."""
        return np.array(_get(raw, STATE), np.float64)

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_env`: (H, 4) → (H, 4)."""
        return actions_to_env(chunk, self._norm_stats, state if self._delta_actions else None)

    def to_labels(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_labels`: (H, 4) → (H, 4)."""
        return actions_to_labels(actions, self._norm_stats, state if self._delta_actions else None)


def _get(raw: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if key not in raw:
        raise KeyError(f"the observation has no {key!r}; it has {sorted(raw)}")
    return raw[key]
