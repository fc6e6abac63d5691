"""Which EGL device a simulator process renders on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

DEVICE = "MUJOCO_EGL_DEVICE_ID"
"""The environment variable that MuJoCo and robosuite read."""

_MOST_DEVICES = 64


def choose_egl_device(environ: Mapping[str, str] = os.environ) -> int:
    """The index, in EGL's own list, of a device that works.

    `MUJOCO_EGL_DEVICE_ID` wins. Else it is a GPU, if there is one: the simulators of rank r (`LOCAL_RANK`) go to the
    r-th of the GPUs that `CUDA_VISIBLE_DEVICES` numbers, or of all where it names none by number.

    Raises:
        ValueError: `MUJOCO_EGL_DEVICE_ID` is not one of the devices.
        RuntimeError: no device works.
    """
    from mujoco.egl import egl_ext

    devices = egl_ext.eglQueryDevicesEXT(_MOST_DEVICES)
    asked = environ.get(DEVICE, "")
    if asked:
        if not asked.isdecimal() or int(asked) >= len(devices):
            raise ValueError(f"{DEVICE}={asked!r} is not valid: EGL has the devices 0 to {len(devices) - 1}")
        return int(asked)
    for index in order_of_trial([is_software(device) for device in devices], environ):
        if _works(devices[index]):
            return index
    raise RuntimeError(f"none of the {len(devices)} EGL devices can be initialised; MUJOCO_GL=osmesa needs none")


def order_of_trial(software: Sequence[bool], environ: Mapping[str, str]) -> list[int]:
    """Indices of all devices, the one to prefer first.

    Args:
        software: for each device, whether it renders on the CPU.
        environ: `CUDA_VISIBLE_DEVICES` and `LOCAL_RANK` are read.
    """
    gpus = [index for index, on_cpu in enumerate(software) if not on_cpu]
    numbers = [int(part) for part in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip().isdecimal()]
    visible = [index for index in numbers if index in gpus] or gpus
    first = int(environ.get("LOCAL_RANK") or 0) % max(1, len(visible))
    return list(dict.fromkeys([*visible[first:], *visible[:first], *gpus, *range(len(software))]))


def is_software(device: Any) -> bool:
    """Whether the device is Mesa's renderer on the CPU."""
    from OpenGL.EGL.EXT.device_query import eglQueryDeviceStringEXT
    from OpenGL.EGL.VERSION.EGL_1_0 import EGL_EXTENSIONS

    return b"EGL_MESA_device_software" in (eglQueryDeviceStringEXT(device, EGL_EXTENSIONS) or b"")


def _works(device: Any) -> bool:
    from mujoco.egl import egl_ext
    from OpenGL import error

    display = egl_ext.eglGetPlatformDisplayEXT(egl_ext.EGL_PLATFORM_DEVICE_EXT, device, None)
    try:
        return display != egl_ext.EGL_NO_DISPLAY and bool(egl_ext.eglInitialize(display, None, None))
    except error.GLError:
        return False
