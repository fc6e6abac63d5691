"""One demonstrated episode in memory, and LIBERO's HDF5 group for it.

A group holds what the official files hold, for T steps:

    actions           (T, 7)            what the simulator executed, in [-1, 1]: the labels
    expert_actions    (T, 7)            what the expert commanded: the same without noise (ours only)
    states            (T, D)            flattened simulator states before each action
    robot_states      (T, 9)            fingers (2), position (3), quaternion x, y, z, w (4)
    rewards, dones    (T,) uint8        1 at the last step
    obs/ee_states     (T, 6)            position in metres and axis-angle in radians; also apart, as ee_pos and ee_ori
    obs/gripper_states, joint_states    (T, 2) in metres, (T, 7) in radians
    obs/agentview_rgb, eye_in_hand_rgb  (N, S, S, 3) uint8, as LIBERO renders them: upside down
    obs/image_steps   (N,)              the steps that have an image (ours only; without it, all of them: N = T)

Attributes: `num_samples` T, `init_state` (D,) and, ours only, `scene_seed`, `noise` and `number`. Resetting `LiberoEnv`
to that seed and state and executing `actions` repeats the episode bit for bit.

Here `obs` is what is seen before the action of the same row. In official files it is what is seen after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import h5py
import numpy as np

from ript.env_runner.pi0_runner_utils import raw_state

CAMERAS = {"agentview_rgb": "agentview_image", "eye_in_hand_rgb": "robot0_eye_in_hand_image"}
"""Name in the file → LIBERO's observation key."""


@dataclass
class Recording:
    """What happened in one episode, step by step."""

    number: int
    """The try's number in its task."""
    scene_seed: int
    noise: float
    """Standard deviation of the noise on the first six action dimensions."""
    init_state: np.ndarray
    """(D,) float64, before objects settled."""
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Dataset name → one array per step."""
    image_steps: list[int] = field(default_factory=list)
    images: dict[str, list[np.ndarray]] = field(default_factory=lambda: {name: [] for name in CAMERAS})

    def __len__(self) -> int:
        return len(self.rows.get("actions", []))

    def add_image(self, observation: Mapping[str, np.ndarray]) -> None:
        """Both images of the step that is added next."""
        self.image_steps.append(len(self))
        for name, key in CAMERAS.items():
            self.images[name].append(observation[key])

    def add_step(
        self, state: np.ndarray, observation: Mapping[str, np.ndarray], action: np.ndarray, commanded: np.ndarray
    ) -> None:
        """One step: what was there and what was done.

        Args:
            state: flattened simulator state (D,).
            observation: robosuite's proprioception, with `robot0_joint_pos`.
            action: what is executed (7,), the label.
            commanded: the same without noise (7,).
        """
        pose, fingers = raw_state(observation)[:6], observation["robot0_gripper_qpos"]
        row = {
            "actions": action,
            "expert_actions": commanded,
            "states": state,
            "robot_states": np.concatenate(
                [fingers, observation["robot0_eef_pos"], observation["robot0_eef_quat"]], dtype=np.float64
            ),
            "obs/ee_states": pose,
            "obs/ee_pos": pose[:3],
            "obs/ee_ori": pose[3:],
            "obs/gripper_states": fingers,
            "obs/joint_states": observation["robot0_joint_pos"],
        }
        for name, value in row.items():
            self.rows.setdefault(name, []).append(np.array(value))


def write_recording(group: h5py.Group, recording: Recording) -> None:
    """Writes a successful episode of at least one step into an empty group."""
    for name, rows in recording.rows.items():
        group[name] = np.stack(rows)
    length = len(recording)
    last = np.zeros(length, np.uint8)
    last[-1] = 1
    group["rewards"] = group["dones"] = last
    group["obs/image_steps"] = np.array(recording.image_steps, np.int64)
    for name, images in recording.images.items():
        if images:
            stacked = np.stack(images)
            group.create_dataset(f"obs/{name}", data=stacked, chunks=(1, *stacked.shape[1:]), compression="gzip")
    group.attrs["num_samples"] = length
    group.attrs["init_state"] = recording.init_state
    for name in ("scene_seed", "noise", "number"):
        group.attrs[name] = getattr(recording, name)
