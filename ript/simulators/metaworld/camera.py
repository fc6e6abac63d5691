"""Pictures of a MuJoCo scene, taken without touching it."""

from __future__ import annotations

import copy
import os
from typing import Any

import numpy as np

from ript.simulators.egl import DEVICE, choose_egl_device
from ript.simulators.rendering import configure_rendering

_BACKEND = configure_rendering()  # mujoco reads its choice when it is imported

import mujoco  # noqa: E402


class Camera:
    """One camera of a model, in any number of sizes.

    Args:
        model: MuJoCo's model.
        name: of the camera.
        shadow_size: side of the shadow map in texels; None is the model's own.
    """

    def __init__(self, model: Any, name: str, shadow_size: int | None = None) -> None:
        if _BACKEND == "egl":
            os.environ[DEVICE] = str(choose_egl_device())
        self._model, self._name = model, name
        if shadow_size is not None:
            model.vis.quality.shadowsize = shadow_size
        self._renderers: dict[int, Any] = {}

    def picture(self, data: Any, size: int) -> np.ndarray:
        """`(size, size, 3)` uint8 of this very moment, as MuJoCo renders it."""
        # Positions in `data` may be of the substep before; mj_forward itself would change the warm start of the solver.
        scene = copy.copy(data)
        mujoco.mj_forward(self._model, scene)
        renderer = self._renderer(size)
        renderer.update_scene(scene, camera=self._name)
        return np.array(renderer.render())

    def close(self) -> None:
        """Frees the OpenGL contexts; a second call does nothing."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}

    def _renderer(self, size: int) -> Any:
        if size not in self._renderers:
            screen = self._model.vis.global_
            screen.offwidth, screen.offheight = max(screen.offwidth, size), max(screen.offheight, size)
            self._renderers[size] = mujoco.Renderer(self._model, size, size)
        return self._renderers[size]
