"""Which Vulkan driver ManiSkill renders with, and where it keeps its files."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from ript.simulators.maniskill.tasks import REMEDY

DRIVER = Path(sys.prefix) / "share" / "ript-pi0" / "vulkan" / "lvp_icd.json"
"""The driver that `scripts/setup_maniskill.sh` fetched for this Python alone, where the system's cannot render."""

ASSETS = Path(__file__).parents[3] / "ManiSkill"
"""Where assets that are in no package are looked for, unless `MS_ASSET_DIR` says otherwise."""

_NAMED = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""The variables with which a user names a driver."""


def configure_vulkan() -> None:
    """Tells Vulkan and ManiSkill, which read the environment when they are first used, what to read.

    Only a process that simulates ManiSkill calls this, so that no other simulator's pictures change.
    """
    if DRIVER.is_file() and not any(os.environ.get(name) for name in _NAMED):
        os.environ["VK_ICD_FILENAMES"] = str(DRIVER)
    os.environ.setdefault("MS_ASSET_DIR", str(ASSETS))
    os.environ.setdefault("MS_SKIP_ASSET_DOWNLOAD_PROMPT", "1")  # a worker has nobody to ask
    warnings.filterwarnings("ignore", "Failed to find system libvulkan")  # SAPIEN brings one


def asset_folder() -> Path:
    """Where ManiSkill keeps what it downloads: `MS_ASSET_DIR`, else `ASSETS`."""
    return Path(os.environ.get("MS_ASSET_DIR", ASSETS))


def no_driver(what: str, error: RuntimeError) -> RuntimeError:
    """SAPIEN's error where there is no driver, or one that cannot render, with what helps."""
    return RuntimeError(f"{what} cannot be rendered here ({error}); what helps is {REMEDY}")


def render_backend() -> str:
    """ManiSkill's name of what renders: the GPU, where the driver has one, else the CPU."""
    import sapien

    if os.environ.get("VK_ICD_FILENAMES") == str(DRIVER):
        return "sapien_cpu"
    try:
        sapien.Device("cuda")
    except RuntimeError:
        return "sapien_cpu"
    return "sapien_cuda"


def working_backend(what: str) -> str:
    """`render_backend`, tried. Raises RuntimeError where no driver here renders `what`."""
    import sapien

    backend = render_backend()
    try:
        sapien.render.RenderSystem(sapien.Device(backend.removeprefix("sapien_")))
    except RuntimeError as error:
        raise no_driver(what, error) from error
    return backend
