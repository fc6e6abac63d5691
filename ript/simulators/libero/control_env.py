"""LIBERO's own environment, made and rendered the way `LiberoEnv` needs it."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np

from ript.simulators.egl import DEVICE, choose_egl_device
from ript.simulators.libero.layout import until_placed
from ript.simulators.rendering import configure_rendering


class CameraGate:
    """Stands in for a camera's sensor: a blank image while closed, the rendered one while open.

    robosuite samples every camera at every control step. Only the sensor is replaced, not the observable
    around it, so its clock runs on and an open gate renders at the very substep at which LIBERO would have.
    """

    __modality__ = "image"

    def __init__(self, simulator: Any, name: str, image_size: int) -> None:
        self.is_open = False
        self._simulator = simulator
        self._sensor = simulator._observables[name]._sensor
        self._blank = np.zeros((image_size, image_size, 3), dtype=np.uint8)
        simulator.modify_observable(name, "sensor", self)

    def __call__(self, obs_cache: dict[str, Any]) -> np.ndarray:
        """The sensor function: `(H, W, 3)` uint8."""
        if not self.is_open:
            return self._blank
        make_context_current(self._simulator.sim)
        return self._sensor(obs_cache)


class _NoMacroAdvice(logging.Filter):
    """Drops robosuite's advice, at every import, to set up a private macro file."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "macro" not in record.getMessage()


def make_control_env(bddl_file: str, image_size: int, render_images: bool) -> Any:
    """LIBERO's `ControlEnv` of a task; without `render_images` it makes no OpenGL context."""
    if configure_rendering() == "egl" and render_images:
        os.environ[DEVICE] = str(choose_egl_device())
    logging.getLogger("robosuite_logs").addFilter(_NoMacroAdvice())
    ControlEnv = _import_control_env()
    return until_placed(
        lambda: ControlEnv(
            bddl_file_name=bddl_file,
            use_camera_obs=render_images,
            has_offscreen_renderer=render_images,
            camera_heights=image_size,
            camera_widths=image_size,
            hard_reset=False,
            ignore_done=True,  # the runner ends episodes, not robosuite's horizon of 1000 steps
        )
    )


def _import_control_env() -> Any:
    """LIBERO's class, imported while robosuite cannot see which GPUs torch has: it takes them for EGL's devices."""
    visible = os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    try:
        from libero.libero.envs.env_wrapper import ControlEnv
    finally:
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
    return ControlEnv


def make_context_current(sim: Any) -> None:
    """Direct OpenGL at this simulator's own context, before it draws or frees anything."""
    # robosuite does so only when it makes a context: with two environments in a process, the older one would
    # draw and free its buffers in the other's context.
    sim._render_context_offscreen.gl_ctx.make_current()
