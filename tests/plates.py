"""What the tests of objects on plates share. RLinf's code and assets are a user's: without them a stand-in is played.

The stand-in's assets are lists and empty files: they say what is there, and nothing can be drawn from them.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import panda
import pytest

from ript.env_vars import RLINF_HOME
from ript.simulators.maniskill.put_on_plate.checkout import ASSETS, CODE, ROBOT, SCENE
from ript.simulators.maniskill.put_on_plate.suites import BACKGROUNDS, OBJECTS

SUITE = "maniskill_put_on_plate_25"
PLATES = 3


def need_rlinf() -> None:
    """Skips the module that calls it at its top."""
    panda.need_maniskill()
    if not os.environ.get(RLINF_HOME):
        pytest.skip(f"{RLINF_HOME} names no checkout of RLinf", allow_module_level=True)


def write_checkout(home: Path) -> Path:
    """The stand-in, where a checkout of RLinf and ManiSkill's downloads (`home/ManiSkill`) have their files."""
    for path in (CODE, Path("ManiSkill") / SCENE, Path("ManiSkill") / ROBOT):
        (home / path).parent.mkdir(parents=True, exist_ok=True)
        (home / path).touch()
    shutil.copy(Path(__file__).with_name("plates_stand_in.py"), home / CODE)
    assets = home / ASSETS / "carrot"
    for kind, number in (("carrot", OBJECTS), ("plate", PLATES)):
        keys = [f"{kind}_{index}" for index in range(number)]
        write_list(assets / f"more_{kind}", {key: {"name": key.replace("_", " ")} for key in keys})
        for key in keys:
            touch(assets / f"more_{kind}" / key / "collision.obj")
    pictures = {f"{index}.png": {"texture": f"wood_{index}.png"} for index in range(BACKGROUNDS)}
    write_list(assets / "more_table", pictures)
    for image, entry in pictures.items():
        touch(assets / "more_table/imgs" / image)
        touch(assets / "more_table/textures" / entry["texture"])
    return home


def write_list(folder: Path, entries: dict[str, dict[str, str]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model_db.json").write_text(json.dumps(entries))


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def write_stats(path: Path) -> Path:
    """Statistics of the WidowX; the gripper's number is from 0 to 1."""
    state = {"mean": [0.0, 0.0, 0.2, 0.0, 1.4, 0.0, 0.03, 0.03], "std": [0.2] * 6 + [0.01] * 2}
    groups = {"state": state, "actions": {"mean": [0.0] * 6 + [0.5], "std": [0.02] * 6 + [0.5]}}
    path.write_text(json.dumps({"norm_stats": groups}))
    return path
