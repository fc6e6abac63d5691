"""Made-up demonstrations, and files with the layout of the official ones."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ript.demonstrations.recording import Recording
from ript.simulators.libero.expert.rows import images_of, row_of

STATE_WIDTH = 20
LANGUAGE = "put the bowl on the plate"


def _recording(number: int = 0, length: int = 12, image_every: int = 5) -> Recording:
    rng = np.random.default_rng(number)
    recording = Recording(number, 3_000_000_000 + number, 0.1, rng.normal(size=STATE_WIDTH))
    for step in range(length):
        observation = {
            "robot0_eef_pos": rng.normal(size=3),
            "robot0_eef_quat": np.array([0.6, 0.0, 0.0, 0.8]),
            "robot0_gripper_qpos": rng.normal(size=2),
            "robot0_joint_pos": rng.normal(size=7),
            "agentview_image": rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            "robot0_eye_in_hand_image": rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
        }
        if image_every and step % image_every == 0:
            recording.add_images(images_of(observation))
        action = rng.uniform(-1, 1, 7)
        recording.add_step(row_of(rng.normal(size=STATE_WIDTH), observation, action, np.clip(action + 0.1, -1, 1)))
    return recording


@pytest.fixture(scope="session")
def make_recording() -> Callable[..., Recording]:
    return _recording


@pytest.fixture
def official_file(tmp_path: Path) -> Path:
    """Two demonstrations as LIBERO's `create_dataset.py` writes them: an image at every step, nothing of ours."""
    rng = np.random.default_rng(0)
    path = tmp_path / "put_the_bowl_on_the_plate_demo.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_name"] = "Libero_Tabletop_Manipulation"
        data.attrs["problem_info"] = json.dumps(
            {
                "problem_name": "libero_tabletop_manipulation",
                "domain_name": "robosuite",
                "language_instruction": LANGUAGE,
            }
        )
        data.attrs["bddl_file_name"] = "put_the_bowl_on_the_plate.bddl"
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["num_demos"], data.attrs["total"], data.attrs["tag"] = 2, 15, "libero-v1"
        for number, length in enumerate((7, 8)):
            demo = data.create_group(f"demo_{number}")
            last = np.arange(length) == length - 1
            arrays = {
                "actions": rng.uniform(-1, 1, (length, 7)),
                "states": rng.normal(size=(length, STATE_WIDTH)),
                "robot_states": rng.normal(size=(length, 9)),
                "rewards": last.astype(np.uint8),
                "dones": last.astype(np.uint8),
                "obs/ee_states": rng.normal(size=(length, 6)),
                "obs/gripper_states": rng.normal(size=(length, 2)),
                "obs/joint_states": rng.normal(size=(length, 7)),
                "obs/agentview_rgb": rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8),
                "obs/eye_in_hand_rgb": rng.integers(0, 256, (length, 8, 8, 3), dtype=np.uint8),
            }
            for key, array in arrays.items():
                demo[key] = array
            demo["obs/ee_pos"], demo["obs/ee_ori"] = arrays["obs/ee_states"][:, :3], arrays["obs/ee_states"][:, 3:]
            demo.attrs["num_samples"], demo.attrs["init_state"] = length, arrays["states"][0]
    return path
