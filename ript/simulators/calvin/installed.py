"""What of `calvin_env` is used: its environment of scene D and its task oracle, made from its own configuration."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ript.simulators.calvin.tasks import INSTALL

SCENE = "calvin_scene_D"
CAMERAS = ("static", "gripper")
"""CALVIN's names; 200 and 84 pixels wide and high."""


def make_env(use_egl: bool) -> Any:
    """CALVIN's own `PlayTableSimEnv`, with both cameras; PyBullet renders with EGL, or with its own TinyRenderer.

    Raises RuntimeError with one line where the installation is incomplete.
    """
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    folder = configuration_folder()
    load = OmegaConf.load
    with quiet():
        robot = OmegaConf.merge(load(folder / "robot/panda.yaml"), load(folder / "robot/panda_longer_finger.yaml"))
        settings = OmegaConf.create(
            {
                "data_path": "data",
                "use_vr": False,
                "scene": load(folder / f"scene/{SCENE}.yaml"),
                "robot": robot,
                "cameras": {name: load(folder / f"cameras/cameras/{name}.yaml") for name in CAMERAS},
                "env": load(folder / "env/play_table_env.yaml"),
            }
        )
        try:
            return instantiate(settings.env, show_gui=False, use_scene_info=True, use_egl=use_egl)
        except SystemExit:  # so calvin_env ends where the plugin does not load
            raise RuntimeError("PyBullet's EGL renderer does not load") from None
        except Exception as error:
            if "git" not in str(error).lower() and "Repository" not in type(error).__name__:
                raise
            raise RuntimeError(f"calvin_env must lie in a git repository with a commit: {INSTALL}") from error


def make_oracle() -> Any:
    """CALVIN's `Tasks`, which say from the infos before and now what was achieved."""
    from omegaconf import OmegaConf

    folder = configuration_folder()
    with quiet():
        from calvin_env.envs.tasks import Tasks

        return Tasks(OmegaConf.load(folder / "tasks/new_playtable_tasks.yaml").tasks)


def configuration_folder() -> Path:
    """`conf/` beside the package. Raises RuntimeError where only the package was installed."""
    import calvin_env

    folder = Path(calvin_env.__file__).parents[1] / "conf"
    if not (folder / "tasks/new_playtable_tasks.yaml").is_file():
        raise RuntimeError(f"calvin_env has no {folder}: install its clone as it lies, {INSTALL}")
    return folder


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps what PyBullet, gym and calvin_env print to themselves, and shows it where there is an error."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile() as printed:
        try:
            for number in (1, 2):
                os.dup2(printed.fileno(), number)
            yield
        except BaseException:
            _flush_all()
            printed.seek(0)
            os.write(kept[1], printed.read())
            raise
        finally:
            _flush_all()
            for number, old in zip((1, 2), kept, strict=True):
                os.dup2(old, number)
                os.close(old)


def _flush_all() -> None:
    """Python's own buffers and those of C."""
    import ctypes

    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)
