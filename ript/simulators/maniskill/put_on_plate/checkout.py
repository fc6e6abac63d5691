"""The user's checkout of RLinf, with its assets and ManiSkill's: where they are looked for, and what is missing."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ript.env_vars import RLINF_HOME, read_rlinf_home
from ript.json_files import read_json
from ript.simulators.maniskill.vulkan import asset_folder

CLONE = "git clone https://github.com/RLinf/RLinf"
CODE = Path("rlinf/envs/maniskill/tasks/put_on_in_scene_multi.py")
ENVIRONMENT = "PutOnPlateInScene25MainV3"
"""The class of `PutOnPlateInScene25Main-v3` there."""
ASSETS = Path("rlinf/envs/maniskill/assets")
"""Where RLinf's code looks for its assets, unless `MANISKILL_ASSET_DIR` says otherwise."""
SCENE = Path("data/tasks/bridge_v2_real2sim_dataset/stages/bridge_table_1_v1.glb")
ROBOT = Path("data/robots/widowx/wx250s.urdf")
"""Two of ManiSkill's downloads, in its own folder."""


class Checkout(NamedTuple):
    """The places of all that the task needs."""

    code: Path
    """RLinf's file."""
    assets: Path
    """RLinf's folder of assets."""
    maniskill: Path
    """The folder of ManiSkill's downloads."""

    def database(self, kind: str) -> Path:
        """The list of what there is of a kind: `carrot` for all objects, `plate` or `table`."""
        return self.assets / "carrot" / f"more_{kind}" / "model_db.json"

    def missing(self) -> Iterator[str]:
        """What is not there, where it was looked for, and the command that brings it."""
        if not self.code.is_file():
            yield _missing("RLinf's code", self.code, f"{CLONE}, and {RLINF_HOME} is where it lies")
        absent = next((path for path in self._asset_files() if not path.is_file()), None)
        if absent:
            command = f"hf download --repo-type dataset RLinf/maniskill_assets --local-dir {self.assets}"
            yield _missing("RLinf's assets", absent, command)
        downloads = {"bridge_v2_real2sim": ("the bridge scene", SCENE), "widowx250s": ("the WidowX robot", ROBOT)}
        for name, (what, path) in downloads.items():
            if not (self.maniskill / path).is_file():
                command = f"MS_ASSET_DIR={self.maniskill} python -m mani_skill.utils.download_asset {name} -y"
                yield _missing(what, self.maniskill / path, command)

    def _asset_files(self) -> Iterator[Path]:
        """What RLinf's code reads of its assets, each list before what it names."""
        for kind in ("carrot", "plate"):
            yield self.database(kind)
            yield from (self.database(kind).parent / name / "collision.obj" for name in read_json(self.database(kind)))
        table = self.database("table")
        yield table
        for image, entry in read_json(table).items():
            yield table.parent / "imgs" / image
            yield table.parent / "textures" / entry["texture"]


def find_checkout(suite: str) -> Checkout:
    """The checkout that `RLINF_HOME` names. Raises ValueError, one line, naming all that is missing."""
    home = read_rlinf_home()
    if home is None:
        raise ValueError(f"suite={suite!r} needs RLinf's code: set {RLINF_HOME} to a checkout of it ({CLONE})")
    assets = Path(os.environ.get("MANISKILL_ASSET_DIR", home / ASSETS)).absolute()
    found = Checkout(home / CODE, assets, asset_folder().absolute())
    missing = list(found.missing())
    if missing:
        raise ValueError(f"suite={suite!r} needs {'; '.join(missing)}")
    return found


@cache
def load_environment(code: Path) -> Any:
    """RLinf's class, from its file alone: its package imports tasks of other robots beside it.

    Raises RuntimeError where the file has no such class.
    """
    spec = importlib.util.spec_from_file_location("rlinf_put_on_in_scene_multi", code)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, ENVIRONMENT):
        raise RuntimeError(f"{code} has no {ENVIRONMENT}: it is of another version of RLinf")
    return getattr(module, ENVIRONMENT)


def _missing(what: str, path: Path, command: str) -> str:
    return f"{what}, but there is no {path} (what brings it: {command})"
