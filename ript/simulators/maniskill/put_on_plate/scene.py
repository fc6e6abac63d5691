"""RLinf's own environment, of which a seed fixes all of the scene, and pictures of it on demand."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ript.models.pi0.preprocess import prepare_image
from ript.simulators.maniskill.put_on_plate.benchmark import PutOnPlateBenchmark
from ript.simulators.maniskill.put_on_plate.checkout import load_environment
from ript.simulators.maniskill.put_on_plate.episodes import draw_episode
from ript.simulators.maniskill.vulkan import configure_vulkan, working_backend

CAMERA = "3rd_view_camera"
SEEN = "rgb+segmentation"
"""The one way in which RLinf's environment looks: it puts a photograph behind robot, object and plate."""


class PutOnPlateScene:
    """A WidowX arm, the objects and plates of a suite; all of its tasks are played in one scene.

    Raises:
        RuntimeError: no Vulkan driver here renders it.
    """

    env: Any
    """RLinf's environment. It observes nothing by itself, so that a step takes no picture."""

    def __init__(self, benchmark: PutOnPlateBenchmark) -> None:
        configure_vulkan()
        backend = working_backend(benchmark.name)
        make = load_environment(benchmark.checkout.code)
        logging.getLogger("mani_skill ").setLevel(logging.ERROR)  # so it calls itself; it warns of its own robot
        with contextlib.redirect_stdout(io.StringIO()):  # RLinf prints how many places there are
            self.env = make(
                obj_set=benchmark.draw.obj_set,
                use_multiple_plates=benchmark.draw.several_plates,
                obs_mode=SEEN,
                sim_backend="physx_cpu",
                render_backend=backend,
                sensor_configs={"shader_pack": "default"},  # as RLinf's configuration: ManiSkill's own is another
            )
        self.env._obs_mode = "none"  # as ManiSkill's own mode, which RLinf's environment does not allow
        self._benchmark, self.task_id, self.episode_id = benchmark, 0, -1
        self._worth = 0.0

    def reset(self, seed: int) -> None:
        """Draws an episode of the task from a seed, 0 to 2³² − 1.

        Raises RuntimeError where RLinf's environment says another sentence than the benchmark.
        """
        episodes = self.env.total_num_trials // self._benchmark.n_tasks
        self.episode_id = self.task_id * episodes + draw_episode(seed, episodes)
        self.env.reset(seed=seed, options={"episode_id": torch.tensor([self.episode_id])})
        self._worth = 0.0
        wanted, said = self._benchmark.get_language(self.task_id), self.env.get_language_instruction()[0]
        if said != wanted:
            raise RuntimeError(f"RLinf's episode {self.episode_id} is {said!r}, not {wanted!r}: it counts otherwise")

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """One control step with a command `(7,)`: what the state became worth, and success."""
        info = self.env.step(to_widowx(action))[-1]
        before, self._worth = self._worth, worth(info)
        return self._worth - before, bool(info["success"][0])

    def joints(self) -> np.ndarray:
        """Positions of the joints `(8,)` float64: arm (6, rad), fingers (2, m)."""
        return _array(self.env.agent.robot.get_qpos())

    def state(self) -> np.ndarray:
        """The simulator's state `(D,)` float64: poses and velocities of all objects, and the joints."""
        return _array(self.env.get_state())

    def hash(self) -> str:
        """SHA-256 (hex) of suite and episode, which fix the background, and of the state now."""
        digest = hashlib.sha256(f"{self._benchmark.name} {self.episode_id}".encode())
        digest.update(np.ascontiguousarray(self.state()).tobytes())
        return digest.hexdigest()

    def picture(self, size: int) -> np.ndarray:
        """`(size, size, 3)` uint8 of this very moment, upright: RLinf's 480 × 640 with the aspect kept."""
        return fitted(self.env._get_obs_sensor_data()[CAMERA]["rgb"].cpu(), size)

    def close(self) -> None:
        """Frees the simulation."""
        self.env.close()


def to_widowx(action: np.ndarray) -> np.ndarray:
    """A command `(7,)`, as ManiSkill's controller takes it, float32: above 0.5 the gripper is told 1, open, else −1."""
    return np.append(action[:6], 1.0 if action[6] > 0.5 else -1.0).astype(np.float32)


def worth(info: Mapping[str, torch.Tensor]) -> float:
    """RLinf's reward before it takes the difference to the step before.

    0.1 once the object was grasped in this episode, 0.1 once it was held for 5 steps in a row, and 1 for success with
    an object that was grasped.
    """
    grasped, held, success = (bool(info[key][0]) for key in ("is_src_obj_grasped", "consecutive_grasp", "success"))
    return 0.1 * grasped + 0.1 * held + 1.0 * (success and grasped)


def fitted(picture: torch.Tensor, size: int) -> np.ndarray:
    """`(1, H, W, 3)` uint8 → `(size, size, 3)`, as the policy fits a picture (openpi's way), with black borders."""
    pixels = prepare_image(picture.to(torch.uint8), size)[0]
    return np.ascontiguousarray(((pixels + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())


def _array(rows: torch.Tensor) -> np.ndarray:
    """ManiSkill's tensors have a row per environment, here one."""
    return rows[0].cpu().numpy().astype(np.float64)
