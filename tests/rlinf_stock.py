"""RLinf's own `ManiskillEnv` and action preparation in a process of their own, new: `rlinf_stock.py given.npz out.npz`.

Its packages' `__init__` files want all of RLinf's requirements, so that only the files that are needed are imported.
"""

import ast
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from ript.env_vars import read_rlinf_home
from ript.simulators.maniskill.vulkan import configure_vulkan, render_backend

SETTINGS = {
    "auto_reset": False,
    "ignore_terminations": False,
    "use_rel_reward": True,
    "seed": 0,
    "group_size": 1,
    "use_fixed_reset_state_ids": True,
    "video_cfg": {},
}
"""Those of RLinf's `maniskill_put_on_plate_in_scene_25_main.yaml`."""
PARAMETERS = {
    "id": "PutOnPlateInScene25Main-v3",
    "obs_mode": "rgb+segmentation",
    "sim_backend": "physx_cpu",
    "sim_config": {"sim_freq": 500, "control_freq": 5},
    "max_episode_steps": 80,
    "sensor_configs": {"shader_pack": "default"},
    "obj_set": "train",
    "use_multiple_plates": False,
}


def empty_package(name: str, folder: Path) -> None:
    """The package without its `__init__`."""
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [str(folder)]


def function(path: Path, name: str) -> Any:
    """One function of a file, without the rest."""
    found = next(node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) == name)
    scope: dict[str, Any] = {"np": np, "torch": torch}
    exec(compile(ast.Module([found], []), str(path), "exec"), scope)
    return scope[name]


def main() -> None:
    home = read_rlinf_home()
    assert home is not None
    configure_vulkan()
    for name in ("rlinf", "rlinf.envs", "rlinf.envs.maniskill", "rlinf.envs.maniskill.tasks"):
        empty_package(name, home / name.replace(".", "/"))
    import_module("rlinf.envs.maniskill.tasks.put_on_in_scene_multi")
    made = import_module("rlinf.envs.maniskill.maniskill_env").ManiskillEnv
    prepare = function(home / "rlinf/envs/action_utils.py", "prepare_actions_for_maniskill")
    given = np.load(sys.argv[1])
    config = OmegaConf.create({**SETTINGS, "init_params": {**PARAMETERS, "render_backend": render_backend()}})
    env = made(config, 1, 0, 1, SimpleNamespace())
    seen, _ = env.reset(seed=0, options={"episode_id": torch.as_tensor(given["episode"])})
    rows = [(seen["main_images"], seen["states"], torch.zeros(1), torch.zeros(1), env.env.unwrapped.get_state())]
    for action in prepare(given["actions"][None], len(given["actions"]), 7, 1.0, "widowx_bridge")[0]:
        seen, reward, _, _, info = env.step(action[None])
        row = seen["main_images"], seen["states"], reward, info["success"], env.env.unwrapped.get_state()
        rows.append(tuple(part.clone() for part in row))
    columns = [torch.cat(column).cpu().numpy() for column in zip(*rows, strict=True)]
    names = ("images", "states", "rewards", "successes", "scenes")
    np.savez(sys.argv[2], prompt=seen["task_descriptions"], **dict(zip(names, columns, strict=True)))


if __name__ == "__main__":
    main()
