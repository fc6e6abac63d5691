"""What the tests of MetaWorld share. It is an extra: without it they are skipped, and say so."""

import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ript.simulators.metaworld.tasks import TASKS

MT50 = "metaworld_mt50"


def need_metaworld() -> None:
    """Skips the module that calls it at its top."""
    if find_spec("metaworld") is None:
        pytest.skip("MetaWorld is not installed: pip install -e '.[metaworld]'", allow_module_level=True)


def task_id(name: str) -> int:
    return TASKS[MT50].index(name)


def stock_env(name: str, start: np.ndarray, **options: Any) -> Any:
    """MetaWorld's own environment, given its start in MetaWorld's own way."""
    from metaworld import Task
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    env = ALL_V3_ENVIRONMENTS[name](**options)
    data = {"env_cls": type(env), "rand_vec": np.array(start), "partially_observable": False}
    env.set_task(Task(name, pickle.dumps(data)))
    return env


def write_stats(path: Path) -> Path:
    """Statistics of MetaWorld's robot."""
    groups = {name: {"mean": [0.0, 0.5, 0.2, 0.5], "std": [0.2] * 4} for name in ("state", "actions")}
    path.write_text(json.dumps({"norm_stats": groups}))
    return path
