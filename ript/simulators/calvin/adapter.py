"""From CALVIN's observation to π0's, and back from π0's actions to CALVIN's."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.env_runner.pi0_io import NormalizedActions, part_of
from ript.simulators.calvin.env import ACTION_DIM, GRIPPER_VIEW, STATE, STATE_DIM, STATIC


class CalvinAdapter(NormalizedActions):
    """CALVIN's conventions and one policy's normalisation: an `Adapter`.

    Commands are π0's actions as they are, but for the gripper's, which becomes −1 or 1.
    """

    cameras = ("base_0_rgb", "left_wrist_0_rgb")
    state_dim, action_dim = STATE_DIM, ACTION_DIM

    def observe(self, raw: Mapping[str, np.ndarray], prompt: str) -> dict[str, Any]:
        """`{"image": {camera: (H, W, 3) uint8, upright}, "state": (7,) float32, "prompt": prompt}`."""
        state = self._norm_stats.state.normalize(self.raw_state(raw))
        images = {"base_0_rgb": part_of(raw, STATIC), "left_wrist_0_rgb": part_of(raw, GRIPPER_VIEW)}
        return {"image": images, "state": state, "prompt": prompt}

    def raw_state(self, raw: Mapping[str, np.ndarray]) -> np.ndarray:
        """Proprioception (7,) float64: position of the hand (m), its Euler angles, opening of the gripper (m)."""
        return np.array(part_of(raw, STATE), np.float64)

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """(H, 7) → (H, 7): above 0 the gripper opens, else it closes, as in CALVIN's evaluation."""
        commands = super().to_env(chunk, state)
        commands[..., -1] = np.where(commands[..., -1] > 0, 1.0, -1.0)
        return commands
