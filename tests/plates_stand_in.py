"""Not RLinf's environment: a table of numbers with the calls of it that this project makes, and none of its physics.

Tests lay it where RLinf's file is. A hand goes where it is told; the object is grasped while the gripper is closed, and
on the plate once it was let go 4 cm along x.
"""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

ASSETS = Path(os.getenv("MANISKILL_ASSET_DIR", Path(__file__).parent / ".." / "assets")) / "carrot"
PLACES, TURNS = 7, 4


def names(kind: str) -> list[str]:
    entries = json.loads((ASSETS / f"more_{kind}" / "model_db.json").read_text()).values()
    return [entry.get("name", "") for entry in entries]


class PutOnPlateInScene25MainV3:
    def __init__(
        self, obj_set: str, use_multiple_plates: bool, obs_mode: str, render_backend: str, **options: Any
    ) -> None:
        assert obs_mode == "rgb+segmentation"
        assert options == {"sim_backend": "physx_cpu", "sensor_configs": {"shader_pack": "default"}}
        print("so many places")
        self._obs_mode = obs_mode
        self.plates = names("plate")[: None if use_multiple_plates else 1]
        first, self.objects, self.backgrounds = {"train": (0, 16, 16), "test": (16, 9, 5)}[obj_set]
        self.things = names("carrot")[first:]
        self.total_num_trials = self.objects * len(self.plates) * self.backgrounds * PLACES * TURNS
        self.agent = SimpleNamespace(robot=SimpleNamespace(get_qpos=lambda: self.qpos))
        self.pictures, self.told, self.closed = 0, [torch.zeros(7)], False

    def reset(self, seed: int, options: dict[str, Any]) -> None:
        rest, turn = divmod(int(options["episode_id"][0]), TURNS)
        rest, place = divmod(rest, PLACES)
        rest, self.background = divmod(rest, self.backgrounds)
        self.thing, self.plate = divmod(rest, len(self.plates))
        self.qpos = torch.zeros(1, 8)
        self.layout = torch.tensor([self.thing, self.plate, place, turn])
        self.seen = dict.fromkeys(("is_src_obj_grasped", "consecutive_grasp", "success"), torch.tensor([False]))
        self.holding, self.told = 0, []

    def step(self, action: Any) -> tuple[dict[str, Any], int, bool, bool, dict[str, torch.Tensor]]:
        assert action.shape == (7,) and abs(action[6]) == 1
        self.told.append(torch.as_tensor(action))
        self.qpos[0, :3] += torch.as_tensor(action[:3])
        self.holding = self.holding + 1 if action[6] == -1 else 0
        self.seen["is_src_obj_grasped"] = self.seen["is_src_obj_grasped"] | (self.holding > 0)
        self.seen["consecutive_grasp"] = self.seen["consecutive_grasp"] | (self.holding >= 5)
        self.seen["success"] = self.seen["is_src_obj_grasped"] & (self.holding == 0) & (self.qpos[:, 0] > 0.04)
        seen = {} if self._obs_mode == "none" else self._get_obs_sensor_data()
        return seen, 0, False, False, self.seen

    def get_state(self) -> torch.Tensor:
        return torch.cat([self.qpos, self.layout[None]], dim=1)

    def get_language_instruction(self) -> list[str]:
        return [f"put {self.things[self.thing]} on {self.plates[self.plate]}"]

    def _get_obs_sensor_data(self) -> dict[str, Any]:
        self.pictures += 1
        rgb = torch.full((1, 480, 640, 3), 50 + 5 * self.background, dtype=torch.uint8)
        rgb[:, :240, :, 0] = 255  # the upper half is red
        return {"3rd_view_camera": {"rgb": rgb}}

    def close(self) -> None:
        self.closed = True
