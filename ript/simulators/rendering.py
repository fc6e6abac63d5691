"""The one place that chooses how MuJoCo renders without a display."""

from __future__ import annotations

import ctypes
import logging
import os

LIBRARIES = {"egl": "libEGL.so.1", "osmesa": "libOSMesa.so.8"}
"""The off-screen backends in order of preference, each with the shared library it needs."""

logging.getLogger("OpenGL.acceleratesupport").setLevel(logging.WARNING)  # it announces what is not installed

REMEDY = (
    "apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libglib2.0-0, "
    "or another backend: MUJOCO_GL=osmesa, MUJOCO_GL=egl"
)
"""What helps where a simulator that renders with MuJoCo does not start."""

_INSTALL = "`apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri` or `apt-get install libosmesa6`"


def configure_rendering() -> str:
    """Choose MuJoCo's off-screen backend and tell MuJoCo and PyOpenGL about it.

    Both read the environment when first imported, so call this before `mujoco` or `robosuite` is imported.
    A backend already named by `MUJOCO_GL` is kept; else EGL (a GPU's driver or Mesa's software renderer) if
    its library loads, else OSMesa.

    Returns:
        The backend, "egl" or "osmesa", now also the value of `MUJOCO_GL` and `PYOPENGL_PLATFORM`.

    Raises:
        ValueError: `MUJOCO_GL` names a backend that cannot render off-screen, or that is not installed; or it is unset
            and none is installed.
    """
    named = os.environ.get("MUJOCO_GL", "").strip().lower()
    if named and named not in LIBRARIES:
        raise ValueError(f"MUJOCO_GL={named!r} cannot render without a display; valid values: {', '.join(LIBRARIES)}")
    backend = next((name for name in ([named] if named else LIBRARIES) if _loads(LIBRARIES[name])), None)
    if backend is None:
        wanted = f"MUJOCO_GL={named!r} is not valid: {LIBRARIES[named]}" if named else "an off-screen OpenGL library"
        raise ValueError(f"{wanted} is not installed; install one with {_INSTALL}")
    os.environ["MUJOCO_GL"] = backend
    os.environ["PYOPENGL_PLATFORM"] = backend
    return backend


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
