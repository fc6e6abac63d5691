"""Whatever a person or a disk has made of a folder's files, the readers answer with one of their own errors."""

import contextlib
import copy
import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_folders import golden_architecture, write_foreign_folder
from safetensors.torch import save_file

from ript.models.pi0.checkpoint import read_architecture
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.policy_card import BaseWeights, PolicyCard, read_policy_card
from ript.models.pi0.stats_source import find_stats
from ript.models.pi0.usage import find_card
from ript.models.pi0.weights_file import WeightsFile

ROUNDS = 150
JUNK = [None, True, 0, -1, 10**400, 1e308, float("nan"), "", "x", "MEAN_STD", "../x", "\ud800", [], {}, [[1]], {"a": 1}]
LEROBOT = {
    "type": "pi0",
    "chunk_size": 10,
    "n_action_steps": 4,
    "max_action_dim": 32,
    "max_state_dim": 32,
    "normalization_mapping": {"STATE": "MEAN_STD", "ACTION": "QUANTILES"},
    "use_relative_actions": True,
    "relative_exclude_joints": ["gripper"],
    "action_feature_names": [*"abcdef", "gripper"],
    "paligemma_variant": "gemma_2b",
    "action_expert_variant": "gemma_300m",
}
CARD = PolicyCard("concat", lora=LoraSettings("both"), base=BaseWeights("a", "b"), sha256={"a": "b"})
STATISTICS = {group: {"mean": [0.0] * n, "std": [1.0] * n} for group, n in (("state", 8), ("actions", 7))}


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to a node and everything below it."""
    inside = node.items() if isinstance(node, dict) else enumerate(node[:3]) if isinstance(node, list) else ()
    return [path] + [place for key, value in inside for place in places(value, (*path, key))]


def damaged(content: Any, rng: random.Random) -> Any:
    """The content with one value replaced or removed."""
    *path, last = rng.choice(places(content)) or (None,)
    if last is None:
        return rng.choice(JUNK)
    node = content = copy.deepcopy(content)
    for key in path:
        node = node[key]
    if isinstance(node, dict) and rng.random() < 0.2:
        del node[last]
    else:
        node[last] = rng.choice(JUNK)
    return content


def read_stats(folder: Path) -> None:
    found = find_stats(folder)
    NormStats.from_content(found.path, found.content, "z_score")


def read_sizes(folder: Path) -> None:
    read_architecture(folder, {"time_mlp_in.weight": (1,)})


PROCESSOR = {"steps": [{"registry_name": "normalizer_processor", "state_file": "state.safetensors"}]}
INDEX = {"metadata": {}, "weight_map": {"a": "state.safetensors"}}


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("config.json", LEROBOT, lambda folder: find_card(folder, "concat")),
        ("config.json", LEROBOT, read_sizes),
        ("network.json", asdict(golden_architecture("pi0")), read_sizes),
        ("policy.json", asdict(CARD), read_policy_card),
        ("norm_stats.json", {"norm_stats": STATISTICS}, read_stats),
        ("policy_preprocessor.json", PROCESSOR, read_stats),
        ("model.safetensors.index.json", INDEX, WeightsFile.open_folder),
    ],
)
def test_damaged_json_is_read_or_refused(tmp_path: Path, name: str, content: Any, read: Callable[[Path], Any]) -> None:
    if read is not read_sizes and name == "config.json":
        write_foreign_folder(tmp_path, "pi0", "lerobot")
    save_file({"observation.state.mean": torch.zeros(8)}, tmp_path / "state.safetensors")
    rng = random.Random(0)
    for _ in range(ROUNDS):
        (tmp_path / name).write_text(json.dumps(damaged(content, rng)))
        with contextlib.suppress(ValueError, FileNotFoundError):
            read(tmp_path)


def test_damaged_weights_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3), "module.b": torch.zeros(2, 2)}, path)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(ROUNDS):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        with contextlib.suppress(ValueError):
            file = WeightsFile.open(path)
            for name in file.shapes:
                file.read(name)
