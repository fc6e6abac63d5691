"""What LeRobot writes beside the weights: how its policies use them, and their statistics."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ript.checks import one_of, whole_number
from ript.json_files import read_json
from ript.models.pi0.config import Kind
from ript.models.pi0.norm_stats import Mode
from ript.models.pi0.preprocess import CAMERAS
from ript.models.pi0.weights_file import WeightsFile

MODES: dict[str, Mode] = {
    "MEAN_STD": "z_score",
    "QUANTILES": "quantile",
    "MIN_MAX": "min_max",
    "IDENTITY": "identity",
}
"""LeRobot's name of a normalisation → ours."""
PREPROCESSOR, POSTPROCESSOR = "policy_preprocessor.json", "policy_postprocessor.json"
STATE, ACTION = "observation.state", "action"
BUFFERS = ("normalize_inputs.", "normalize_targets.", "unnormalize_outputs.")
"""Statistics among the weights of policies from before the processors; their names begin so."""
_BUFFER_OF = {
    "state": ("normalize_inputs.buffer_observation_state.",),
    "actions": ("unnormalize_outputs.buffer_action.", "normalize_targets.buffer_action."),
}
_DEFAULT_MODE: dict[Kind, str] = {"pi0": "MEAN_STD", "pi05": "QUANTILES"}

Usage = dict[str, tuple[Any, str]]
"""Key of a policy card → its value, and who says so."""


def is_lerobot(config: Mapping[str, Any]) -> bool:
    """The content of a `config.json` is LeRobot's."""
    return "type" in config


def read_usage(path: Path, config: Mapping[str, Any], kind: Kind) -> Usage:
    """What a `config.json` of LeRobot says, else LeRobot's defaults. Raises ValueError naming file and key."""
    try:
        modes = {name: _mode(config, name, kind) for name in ("STATE", "ACTION")}
        state, actions = modes["STATE"], modes["ACTION"]
        return {
            "delta_actions": _relative(config),
            "cameras": _cameras(config),
            "discrete_state_input": (kind == "pi05", f"LeRobot's {kind}"),
            "normalization": actions,
            "state_normalization": (None if state[0] == actions[0] else state[0], state[1]),
            "open_loop": _open_loop(config),
        }
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _mode(config: Mapping[str, Any], feature: str, kind: Kind) -> tuple[Mode, str]:
    mapping = config.get("normalization_mapping")
    if mapping is None:
        return MODES[_DEFAULT_MODE[kind]], "LeRobot's default"
    if not isinstance(mapping, dict):
        raise ValueError(f"normalization_mapping={mapping!r} is not valid: must map STATE and ACTION to a mode")
    mode = mapping.get(feature, "IDENTITY")
    one_of(f"normalization_mapping.{feature}", mode, tuple(MODES))
    return MODES[mode], "config.json"


def _relative(config: Mapping[str, Any]) -> tuple[bool, str]:
    """Relative actions here are all but the gripper's, which LeRobot's names must say too."""
    if "use_relative_actions" not in config:
        return False, "LeRobot's default"
    relative = config["use_relative_actions"]
    one_of("use_relative_actions", relative, (True, False))
    names = config.get("action_feature_names")
    if relative and isinstance(names, list) and names:
        excluded = config.get("relative_exclude_joints") or []
        if not isinstance(excluded, list) or not all(isinstance(part, str) for part in excluded):
            raise ValueError(f"relative_exclude_joints={excluded!r} is not valid: must be a list of names")
        absolute = [i for i, name in enumerate(names) if any(part in str(name) for part in excluded)]
        if absolute != [len(names) - 1]:
            raise ValueError(
                f"relative_exclude_joints={excluded!r} is not valid: of {names} it must leave the last, and only it"
            )
    return relative, "config.json"


def _cameras(config: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    """A policy of one image looks through the first camera alone; LeRobot masks the others."""
    features = config.get("input_features")
    values = features.values() if isinstance(features, dict) else ()
    images = [value for value in values if isinstance(value, dict) and value.get("type") == "VISUAL"]
    return (CAMERAS[:1], "config.json") if len(images) == 1 else (CAMERAS, "default")


def _open_loop(config: Mapping[str, Any]) -> tuple[int | None, str]:
    steps, chunk = config.get("n_action_steps"), config.get("chunk_size")
    if steps is None:
        return None, "default"
    whole_number("n_action_steps", steps, 1)
    if isinstance(chunk, int) and steps > chunk:
        raise ValueError(f"n_action_steps={steps} is not valid: chunk_size is {chunk}")
    return steps, "config.json"


def read_processor_stats(folder: Path) -> dict[str, Any] | None:
    """The processors' statistics in openpi's format; None when the folder has none.

    Raises FileNotFoundError or ValueError naming the file.
    """
    if not (folder / PREPROCESSOR).is_file():
        return None
    inputs = _processor_tensors(folder, PREPROCESSOR, "normalizer_processor")
    outputs = _processor_tensors(folder, POSTPROCESSOR, "unnormalizer_processor") or inputs
    if not inputs:
        return None
    state, actions = _named(inputs, f"{STATE}."), _named(outputs, f"{ACTION}.") or _named(inputs, f"{ACTION}.")
    return {"norm_stats": {"state": state, "actions": actions}}


def processor_files(folder: Path) -> dict[str, bytes]:
    """Name → bytes of the processors' files in a folder, so that they can be written again."""
    names = [name for name in (PREPROCESSOR, POSTPROCESSOR) if (folder / name).is_file()]
    names += [state for name in names for _, state in _state_files(folder / name)]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def buffer_names(file: WeightsFile) -> list[str]:
    """Names of the statistics among weights."""
    return [name for name in file.shapes if name.startswith(BUFFERS)]


def read_buffer_stats(file: WeightsFile) -> dict[str, Any] | None:
    """The statistics among weights in openpi's format; None when there are none."""
    names = buffer_names(file)
    if not names:
        return None
    groups: dict[str, dict[str, list[float]]] = {}
    for group, prefixes in _BUFFER_OF.items():
        prefix = next((p for p in prefixes if any(name.startswith(p) for name in names)), prefixes[0])
        groups[group] = _named({name: file.read(name) for name in names if name.startswith(prefix)}, prefix)
    return {"norm_stats": groups}


def _processor_tensors(folder: Path, name: str, step: str) -> dict[str, Tensor]:
    path = folder / name
    if not path.is_file():
        return {}
    for registry_name, state_file in _state_files(path):
        if registry_name == step:
            return _read_tensors(folder / state_file)
    return {}


def _state_files(path: Path) -> list[tuple[str, str]]:
    """(registry name, file name) of the steps that have a state. Raises ValueError."""
    steps = read_json(path).get("steps", [])
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ValueError(f"{path}: steps must be a list of objects")
    found = []
    for step in steps:
        name = step.get("state_file")
        if name is None:
            continue
        if not isinstance(name, str) or Path(name).name != name or len(name.encode(errors="replace")) > 255:
            raise ValueError(f"{path}: state_file {name!r} is not the name of a file beside it")
        found.append((str(step.get("registry_name")), name))
    return found


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"statistics not found: {path}")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error


def _named(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, list[float]]:
    """The vectors whose names begin with `prefix`, by the rest of the name."""
    return {
        name.removeprefix(prefix): tensor.double().tolist()
        for name, tensor in tensors.items()
        if name.startswith(prefix) and tensor.ndim == 1
    }
