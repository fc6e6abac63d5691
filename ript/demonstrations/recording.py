"""One demonstrated episode in memory, and its HDF5 group in LIBERO's layout.

A group holds what LIBERO's official files hold, for T steps; A, E and G are 7, 6 and 2 there. Files of another robot
say what theirs are (`RobotLayout`):

    actions           (T, A)            what the simulator executed, in [-1, 1]: the labels
    expert_actions    (T, A)            what the expert commanded: the same without noise (ours only)
    states            (T, D)            flattened simulator states before each action
    robot_states      (T, 9)            LIBERO only: fingers (2), position (3), quaternion x, y, z, w (4)
    rewards, dones    (T,) uint8        1 at the last step
    obs/ee_states     (T, E)            position in metres and axis-angle in radians
    obs/gripper_states (T, G)           LIBERO: finger positions in metres
    obs/ee_pos, ee_ori, joint_states    LIBERO only: (T, 3), (T, 3), (T, 7)
    obs/agentview_rgb, eye_in_hand_rgb  (N, S, S, 3) uint8, turned by 180°, as both simulators render them
    obs/image_steps   (N,)              the steps that have an image (ours only; without it, all of them: N = T)

The state that a policy sees is `ee_states` followed by `gripper_states`. Attributes: `num_samples` T, `init_state` (D,)
and, ours only, `scene_seed`, `noise` and `number`. Resetting the environment to that seed and state and executing
`actions` repeats the episode bit for bit.

Here `obs` is what is seen before the action of the same row. In official files it is what is seen after it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

import h5py
import numpy as np

from ript.checks import one_of, whole_number

CAMERAS = {"base_0_rgb": "agentview_rgb", "left_wrist_0_rgb": "eye_in_hand_rgb"}
"""π0's name of a camera → dataset."""
ROBOT = "robot"
"""Attribute of the group `data` that holds a `RobotLayout`."""


@dataclass(frozen=True)
class RobotLayout:
    """Which cameras and how many numbers a robot's demonstrations hold; files that do not say are LIBERO's."""

    cameras: tuple[str, ...] = tuple(CAMERAS)
    """π0's names."""
    actions: int = 7
    ee_states: int = 6
    gripper_states: int = 2

    def __post_init__(self) -> None:
        """Raises ValueError."""
        for camera in self.cameras:
            one_of("camera", camera, tuple(CAMERAS))
        for name in ("actions", "ee_states", "gripper_states"):
            whole_number(name, getattr(self, name), 1)

    def to_json(self) -> str:
        """For the attribute."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RobotLayout:
        """Raises ValueError."""
        content = json.loads(text)
        names = sorted(field.name for field in fields(cls))
        if not isinstance(content, dict) or sorted(content) != names or not isinstance(content["cameras"], list):
            raise ValueError(f"must have {', '.join(names)}")
        return cls(**{**content, "cameras": tuple(content["cameras"])})


@dataclass
class Recording:
    """What happened in one episode, step by step."""

    number: int
    """The try's number in its task."""
    scene_seed: int
    noise: float
    """Standard deviation of the noise on the action dimensions but the last, the gripper's."""
    init_state: np.ndarray
    """(D,) float64, before objects settled."""
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Dataset name → one array per step."""
    image_steps: list[int] = field(default_factory=list)
    images: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """Dataset name → one image per image step, as it is stored: upside down."""

    def __len__(self) -> int:
        return len(self.rows.get("actions", []))

    def add_images(self, images: Mapping[str, np.ndarray]) -> None:
        """The images of the step that is added next, by π0's names of their cameras, as rendered: upside down."""
        self.image_steps.append(len(self))
        for camera, image in images.items():
            self.images.setdefault(CAMERAS[camera], []).append(image)

    def add_step(self, row: Mapping[str, np.ndarray]) -> None:
        """One step, by the names of the datasets: what was there before the action, and what was done."""
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
        stacked = np.stack(images)
        group.create_dataset(f"obs/{name}", data=stacked, chunks=(1, *stacked.shape[1:]), compression="gzip")
    group.attrs["num_samples"] = length
    group.attrs["init_state"] = recording.init_state
    for name in ("scene_seed", "noise", "number"):
        group.attrs[name] = getattr(recording, name)
