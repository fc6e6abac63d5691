"""From the WidowX's observation to π0's, and back from π0's actions to its commands."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import NormalizedActions, part_of
from ript.simulators.maniskill.put_on_plate.env import ACTION_DIM, IMAGE, STATE, STATE_DIM


class PutOnPlateAdapter(NormalizedActions):
    """RLinf's conventions and one policy's normalisation: an `Adapter`.

    The scene's camera alone: there is no wrist camera, so a policy must mask it. Commands are π0's actions as they
    are; what becomes of the gripper's number, the environment decides, so that labels are what the policy said.
    """

    cameras = ("base_0_rgb",)
    state_dim, action_dim = STATE_DIM, ACTION_DIM

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`{"image": {"base_0_rgb": (S, S, 3) uint8, upright}, "state": (8,) float32, "prompt": prompt}`."""
        state = self._norm_stats.state.normalize(self.raw_state(raw))
        return {"image": {"base_0_rgb": part_of(raw, IMAGE)}, "state": state, "prompt": prompt}

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Proprioception (8,) float64: positions of the arm's joints (rad) and of the fingers (m)."""
        return np.array(part_of(raw, STATE), np.float64)
