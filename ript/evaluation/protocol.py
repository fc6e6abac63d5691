"""What an evaluation evaluates: what its folder keeps fixed, and which episodes of which settings it wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ript.json_files import read_json, write_json

EVALUATION = "evaluation.json"
EPISODES = 50
"""Episodes per task of the standard protocol: one for each of the benchmark's initial states."""

_MAY_DIFFER = ("policy.path",)
"""The same weights in another place are the same policy."""


@dataclass(frozen=True)
class Setting:
    """One of the settings that an evaluation compares."""

    denoise_steps: int
    """Euler steps from noise to actions."""
    cfg_scale: float
    """Guidance scale; 1 is none."""

    def __str__(self) -> str:
        steps = "step" if self.denoise_steps == 1 else "steps"
        return f"{self.denoise_steps} denoising {steps}, guidance {self.cfg_scale:g}"


Plan = dict[Setting, dict[str, int]]
"""Setting → task → episodes wanted."""


@dataclass(frozen=True)
class Protocol:
    """What is the same for all episodes of a folder."""

    policy: dict[str, Any]
    """Where it was, how it is used, and the SHA-256 of its files; see `ript.evaluation.evaluated_policy`."""
    suite: str
    seed: int
    max_steps: int
    """Control steps after which an episode counts as failed."""
    wait_steps: int
    """Settling steps before the episode."""
    open_loop: int
    """Executed steps per inference."""
    image_size: int
    """Side of the camera images in pixels."""
    device: str
    versions: dict[str, str]
    """Package → version."""


def open_evaluation(folder: Path, protocol: Protocol, plan: Plan) -> Plan:
    """Writes `evaluation.json`, or adds the plan to what is there; returns all that the folder has been asked for.

    Raises ValueError naming every difference when the folder holds an evaluation by another protocol.
    """
    path = folder / EVALUATION
    fixed = asdict(protocol)
    if path.exists():
        there = read_json(path)
        earlier = _read_settings(path, there)
        differences = _differences(there, fixed)
        if differences:
            raise ValueError(f"{path} is of another evaluation: {'; '.join(differences)}. Choose another --out")
        fixed["policy"] = there["policy"]
        plan = merge_plans(earlier, plan)
    write_json(path, {**fixed, "settings": [{**asdict(s), "episodes": tasks} for s, tasks in plan.items()]})
    return plan


def read_evaluation(folder: Path) -> tuple[Protocol, Plan]:
    """What the folder's `evaluation.json` says. Raises FileNotFoundError or ValueError."""
    path = folder / EVALUATION
    content = read_json(path)
    plan = _read_settings(path, content)
    return Protocol(**{key: content[key] for key in Protocol.__dataclass_fields__}), plan


def merge_plans(first: Plan, second: Plan) -> Plan:
    """All settings and tasks of both, the first's first, each with the larger number of episodes."""
    merged = {setting: dict(tasks) for setting, tasks in first.items()}
    for setting, tasks in second.items():
        wanted = merged.setdefault(setting, {})
        for task, episodes in tasks.items():
            wanted[task] = max(episodes, wanted.get(task, 0))
    return merged


def _read_settings(path: Path, content: Mapping[str, Any]) -> Plan:
    missing = sorted({*Protocol.__dataclass_fields__, "settings"} - content.keys())
    if missing:
        raise ValueError(f"{path} is not of an evaluation: it lacks {', '.join(missing)}")
    return {Setting(s["denoise_steps"], s["cfg_scale"]): s["episodes"] for s in content["settings"]}


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    before, now = _flat({key: there[key] for key in wanted}), _flat(wanted)
    names = [name for name in {**before, **now} if name not in _MAY_DIFFER]
    return [f"{name} is {before.get(name)}, not {now.get(name)}" for name in names if before.get(name) != now.get(name)]


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat
