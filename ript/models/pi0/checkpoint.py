"""A policy folder: weights as safetensors, everything else as JSON.

model.safetensors   weights
config.json         sizes of the network (transformers' PI0Config)
policy.json         schema version, condition_mode, delta_actions, normalization
norm_stats.json     openpi's format
tokenizer.json      a `tokenizers` file
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PI0Config

from ript.data.norm_stats import Mode
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.models.pi0.modeling import Pi0FlowModel

WEIGHTS, CONFIG, POLICY = "model.safetensors", "config.json", "policy.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PolicyCard:
    """How the weights must be used; stored with them and checked at loading."""

    condition_mode: str
    delta_actions: bool = False
    normalization: Mode = "z_score"
    schema_version: int = SCHEMA_VERSION


def read_policy_card(folder: Path) -> PolicyCard:
    """Reads `policy.json`. Raises FileNotFoundError or ValueError naming file, key and valid values."""
    content = _read_json(folder / POLICY)
    expected = set(PolicyCard.__dataclass_fields__)
    if set(content) != expected:
        raise ValueError(f"{folder / POLICY}: keys must be {sorted(expected)}, got {sorted(content)}")
    card = PolicyCard(**content)
    valid = {
        "schema_version": (SCHEMA_VERSION,),
        "condition_mode": CONDITION_MODES,
        "normalization": ("z_score", "quantile"),
        "delta_actions": (True, False),
    }
    for key, values in valid.items():
        if getattr(card, key) not in values:
            raise ValueError(f"{folder / POLICY}: {key} {getattr(card, key)!r} is not one of {values}")
    return card


def load_model(folder: Path, condition_mode: str) -> Pi0FlowModel:
    """Builds the network of `config.json` and loads its weights, strictly.

    Raises FileNotFoundError or ValueError with every missing, unexpected or misshapen tensor.
    """
    config = PI0Config.from_dict(_read_json(folder / CONFIG))
    model = Pi0FlowModel(config, condition_mode)
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"weights not found: {path}")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    _check_tensors(path, model.state_dict(), tensors)
    model.load_state_dict(tensors)
    return model


def save_model(folder: Path, model: Pi0FlowModel, card: PolicyCard) -> None:
    """Writes weights, network config and policy card into an existing folder."""
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    (folder / POLICY).write_text(json.dumps(asdict(card), indent=2) + "\n")


def _check_tensors(path: Path, expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in sorted(expected.keys() & found.keys())
        if found[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError(f"{path}: " + "; ".join(problems))


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"file not found: {path}")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object")
    return content
