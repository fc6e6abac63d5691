"""From ManiSkill's observation to π0's, and back from π0's actions to ManiSkill's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import NormalizedActions, part_of
from ript.simulators.maniskill.env import ACTION_DIM, IMAGE, STATE, STATE_DIM


class ManiSkillAdapter(NormalizedActions):
    """ManiSkill's conventions and one policy's normalisation: an `Adapter`.

    The scene's camera alone: this robot has no wrist camera, so a policy must mask it. Commands are π0's actions as
    they are.
    """

    cameras = ("base_0_rgb",)
    state_dim, action_dim = STATE_DIM, ACTION_DIM
    image_key, state_key = IMAGE, STATE
    """Keys of the environment's observation."""

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`{"image": {"base_0_rgb": (N, N, 3) uint8, upright}, "state": (S,) float32, "prompt": prompt}`."""
        state = self._norm_stats.state.normalize(self.raw_state(raw))
        return {"image": {"base_0_rgb": part_of(raw, self.image_key)}, "state": state, "prompt": prompt}

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Proprioception (S,) float64; here S is 9: pose of the hand (m, quaternion), positions of the fingers (m)."""
        return np.array(part_of(raw, self.state_key), np.float64)
