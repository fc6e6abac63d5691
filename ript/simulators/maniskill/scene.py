"""ManiSkill's own environment of a task, of which a seed fixes all of the scene, and pictures of it on demand."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from typing import Any

import numpy as np

from ript.simulators.maniskill.vulkan import configure_vulkan, no_driver, render_backend

CAMERA = "base_camera"
CONTROL = "pd_ee_delta_pose"
ROBOT = "panda"


class TaskScene:
    """One task of ManiSkill on the CPU, with its scene under control.

    Args:
        task_name: such as `PushCube-v1`.
        image_size: height and width of the camera's pictures; None renders nothing.

    Raises:
        RuntimeError: no Vulkan driver here renders it.
    """

    env: Any
    """ManiSkill's environment. It observes nothing by itself, so that a step takes no picture."""

    def __init__(self, task_name: str, image_size: int | None = None) -> None:
        configure_vulkan()
        import gymnasium

        logging.getLogger("mani_skill ").setLevel(logging.ERROR)  # so it calls itself; it warns of its own tasks
        import mani_skill.envs  # noqa: F401  registers the tasks

        self.task_name = task_name
        try:
            made = gymnasium.make(
                task_name,
                obs_mode="none",
                robot_uids=ROBOT,
                control_mode=CONTROL,
                sim_backend="physx_cpu",
                render_backend="none" if image_size is None else render_backend(),
                sensor_configs={"width": image_size or 1, "height": image_size or 1},
            )
        except RuntimeError as error:  # so SAPIEN says that there is no driver, or one that cannot
            if image_size is None:
                raise
            raise no_driver(task_name, error) from error
        self.env = made.unwrapped  # without its limit of steps: the runner ends episodes
        self._cameras: dict[int, Any] = {}

    def reset(self, seed: int) -> None:
        """Draws the scene of a seed, 0 to 2³² − 1, as ManiSkill does."""
        self.env.reset(seed=seed)

    def step(self, action: np.ndarray) -> tuple[float, bool]:
        """One control step with a command `(7,)`: ManiSkill's normalised dense reward, and success."""
        _, reward, _, _, info = self.env.step(action.astype(np.float32))
        return float(reward[0]), bool(info["success"][0])

    def hand(self) -> np.ndarray:
        """Pose of the point between the fingers `(7,)` float64: position (m), quaternion w, x, y, z with x ≥ 0."""
        pose = _array(self.env.agent.tcp_pose.raw_pose)
        # A hand that points down has x near 1, so the sign never changes on the way.
        return np.concatenate([pose[:3], pose[3:] * (1.0 if pose[4] >= 0 else -1.0)])

    def fingers(self) -> np.ndarray:
        """Positions of the fingers `(2,)` float64 in metres."""
        return _array(self.env.agent.robot.get_qpos())[-2:]

    def position(self, name: str) -> np.ndarray:
        """Where one of the task's objects is `(3,)` float64: an attribute of ManiSkill's environment."""
        return _array(getattr(self.env, name).pose.p)

    def state(self) -> np.ndarray:
        """The simulator's state `(D,)` float64: poses and velocities of all objects, of goals and of the joints.

        Not what the joints are driven to: each command sets it before the first step, and a reset leaves it as it was.
        """
        return _array(self.env.get_state())

    def hash(self) -> str:
        """SHA-256 (hex) of the task and of its state now."""
        digest = hashlib.sha256(self.task_name.encode())
        digest.update(np.ascontiguousarray(self.state()).tobytes())
        return digest.hexdigest()

    def picture(self, size: int) -> np.ndarray:
        """`(size, size, 3)` uint8 of this very moment, upright; with the goal of PickCube, which ManiSkill hides."""
        camera = self._camera(size)
        self.env.scene.update_render(update_sensors=True, update_human_render_cameras=False)
        camera.capture()
        seen = camera.get_obs(rgb=True, depth=False, position=False, segmentation=False)["rgb"]
        return np.ascontiguousarray(seen[0].cpu().numpy())

    def close(self) -> None:
        """Frees the simulation."""
        self._cameras = {}
        self.env.close()

    def _camera(self, size: int) -> Any:
        """The task's camera at a size; one more is put beside it where that is another."""
        own = self.env.scene.sensors[CAMERA]
        if own.config.width == size:
            return own
        if size not in self._cameras:
            from mani_skill.sensors.camera import Camera

            config = dataclasses.replace(own.config, uid=f"{CAMERA}_{size}", width=size, height=size)
            self._cameras[size] = Camera(config, self.env.scene)
        return self._cameras[size]


def _array(rows: Any) -> np.ndarray:
    """ManiSkill's tensors have a row per environment, here one."""
    return rows[0].cpu().numpy().astype(np.float64)
