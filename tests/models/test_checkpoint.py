"""Folders: loaded strictly, saved in the layout they came in, and refused when they are damaged."""

import json
import os
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from golden_folders import (
    EMBED_TOKENS,
    KINDS,
    LAYOUTS,
    LM_HEAD,
    golden_architecture,
    golden_weights,
    write_foreign_folder,
)
from planar import tiny_policy, write_tiny_policy
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ript.models.pi0.checkpoint import find_policy_card, load_model, save_model
from ript.models.pi0.config import GEMMA_VARIANTS, SIGLIP_SO400M, Kind
from ript.models.pi0.layouts import read_foreign_config
from ript.models.pi0.modeling import Pi0FlowModel


def load(folder: Path, mode: str = "concat") -> Pi0FlowModel:
    return load_model(folder, find_policy_card(folder, mode))[0]


def save_again(source: Path, target: Path, mode: str = "concat") -> None:
    card = find_policy_card(source, mode)
    model, origin = load_model(source, card)
    target.mkdir()
    save_model(target, model, card, origin)


def assert_same_bytes(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor.view(torch.uint8), second[name].view(torch.uint8)), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_folder_has_the_bytes_and_the_config_it_was_loaded_from(
    tmp_path: Path, kind: Kind, layout: str, dtype: torch.dtype
) -> None:
    source = write_foreign_folder(tmp_path / "source", kind, layout, dtype)
    save_again(source, tmp_path / "saved")
    saved = tmp_path / "saved" / "model.safetensors"
    assert_same_bytes(load_file(source / "model.safetensors"), load_file(saved))
    with safe_open(source / "model.safetensors", "pt") as old, safe_open(saved, "pt") as new:
        assert old.metadata() == new.metadata()
    assert json.loads((tmp_path / "saved/config.json").read_text()) == json.loads((source / "config.json").read_text())


def test_a_trained_bfloat16_checkpoint_is_saved_without_rounding(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", dtype=torch.bfloat16)
    card = find_policy_card(source, "concat")
    model, origin = load_model(source, card)
    with torch.no_grad():
        model.action_out_proj.weight += 1e-6
    (tmp_path / "saved").mkdir()
    save_model(tmp_path / "saved", model, card, origin)
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert torch.equal(saved["action_out_proj.weight"], model.action_out_proj.weight)
    assert saved["action_in_proj.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("present", ["lm_head", "embed_tokens", "both"])
def test_the_tied_embedding_is_kept_under_the_names_it_came_with(tmp_path: Path, present: str) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", "lerobot")
    weights = load_file(source / "model.safetensors")
    dropped = {"lm_head": EMBED_TOKENS, "embed_tokens": LM_HEAD}.get(present)
    kept = {name: x for name, x in weights.items() if name != dropped}
    save_file(kept, source / "model.safetensors")
    save_again(source, tmp_path / "saved")
    assert_same_bytes(kept, load_file(tmp_path / "saved" / "model.safetensors"))


def test_an_embedding_fine_tuned_without_its_output_layer_keeps_both(tmp_path: Path) -> None:
    """LeRobot does not tie them: the input embedding is what the network uses."""
    tuned = torch.randn(512, 64)
    source = write_foreign_folder(tmp_path / "source", "pi0", "lerobot", **{EMBED_TOKENS: tuned})
    assert torch.equal(load(source).model.vlm.language_model.embed_tokens.weight, tuned)
    save_again(source, tmp_path / "saved")
    assert_same_bytes(load_file(source / "model.safetensors"), load_file(tmp_path / "saved/model.safetensors"))


@pytest.mark.parametrize("mode", ["concat", "bias", "token"])
@pytest.mark.parametrize("kind", KINDS)
def test_our_own_folder_loads_what_was_saved(tmp_path: Path, kind: Kind, mode: str) -> None:
    policy = tiny_policy(tmp_path / "first", mode, kind=kind)
    policy.save(tmp_path / "second")
    again = load(tmp_path / "second", mode)
    for (name, first), second in zip(policy.model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(first, second), name


def test_an_original_tool_finds_exactly_its_own_tensors(tmp_path: Path) -> None:
    """The condition embedding and everything else of ours is in files of their own."""
    source = write_foreign_folder(tmp_path / "source", "pi05")
    save_again(source, tmp_path / "saved")
    assert load_file(tmp_path / "saved/model.safetensors").keys() == golden_weights("pi05").keys()
    assert load_file(tmp_path / "saved/condition.safetensors").keys() == {
        "embedding.weight",
        "fuse.weight",
        "fuse.bias",
    }


def edit(folder: Path, **changes: torch.Tensor | None) -> None:
    """Changes tensors of the weights; None removes one."""
    path = folder / "model.safetensors"
    weights = {name: x for name, x in (load_file(path) | changes).items() if x is not None}
    save_file(weights, path)


def test_every_missing_unexpected_and_misshapen_tensor_is_named_in_one_error(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    edit(folder, **{"state_proj.bias": None, "value_head.weight": torch.zeros(2), "action_in_proj.bias": torch.ones(3)})
    with pytest.raises(ValueError) as error:
        load(folder)
    message = str(error.value)
    assert message.startswith(str(folder / "model.safetensors"))
    assert (
        "missing state_proj.bias; unexpected value_head.weight; action_in_proj.bias is (3,), expected (32,)" in message
    )


class Bomb:
    """Pickled code that would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_under_the_name_of_weights_is_refused_and_not_run(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path / "folder", "pi0")
    (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable safetensors file"):
        load(folder)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("keep", [0, 7, 100, -1, -1000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors: not a readable safetensors file"):
        load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "condition.safetensors"])
def test_a_flipped_byte_in_our_own_folder_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_tiny_policy(tmp_path)
    path = folder / name
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}: damaged"):
        load(folder)


def test_weights_of_integers_are_refused(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0", **{"state_proj.bias": torch.ones(32, dtype=torch.int64)})
    with pytest.raises(ValueError, match=r"state_proj\.bias is I64"):
        load(folder)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    save_file({"transformer.wte.weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: not a π0 .*transformer\.wte\.weight"):
        load(folder)


def network(**changes: object) -> str:
    """The content of a network.json."""
    return json.dumps(asdict(golden_architecture("pi0")) | changes)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("network.json", "{", r"network\.json: not valid JSON"),
        ("network.json", "[]", r"network\.json: must hold a JSON object"),
        ("network.json", '{"kind": "pi0"}', r"network\.json: key 'text' is missing"),
        ("network.json", network(chunk_size=0), r"network\.json: chunk_size=0 is not valid"),
        ("network.json", network(text={**asdict(golden_architecture("pi0").text), "width": "64"}), "width='64'"),
        ("policy.json", "{}", r"policy\.json: keys must be"),
        ("config.json", "not json", r"config\.json: not valid JSON"),
    ],
)
def test_bad_json_is_refused_by_file_and_key(tmp_path: Path, file: str, content: str, message: str) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_sizes_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    network = asdict(golden_architecture("pi0"))
    network["expert"]["depth"] = 2
    (folder / "network.json").write_text(json.dumps(network))
    with pytest.raises(ValueError, match=r"network\.json: depth of language model and action expert must be equal"):
        load(folder)


def test_a_trained_condition_without_its_card_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_policy(tmp_path)
    (folder / "policy.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"policy\.json"):
        load(folder)


def test_a_folder_without_sizes_says_which_files_would_hold_them(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    (folder / "config.json").unlink()
    (folder / "network.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json nor .*network\.json"):
        load(folder)


OPENPI = {
    "action_dim": 32,
    "action_horizon": 10,
    "paligemma_variant": "gemma_2b",
    "action_expert_variant": "gemma_300m",
}
LEROBOT = {"type": "pi05", "chunk_size": 10, "max_action_dim": 32, "max_state_dim": 32}


@pytest.mark.parametrize("content", [OPENPI, LEROBOT])
def test_sizes_follow_the_variant_names(content: dict[str, object]) -> None:
    architecture = read_foreign_config(content, "pi05")
    assert architecture.text == GEMMA_VARIANTS["gemma_2b"]
    assert architecture.expert == GEMMA_VARIANTS["gemma_300m"]
    assert architecture.vision == SIGLIP_SO400M
    assert (architecture.kind, architecture.chunk_size, architecture.vocab_size) == ("pi05", 10, 257152)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**OPENPI, "paligemma_variant": "gemma_7b"}, "paligemma_variant='gemma_7b'.*gemma_2b"),
        ({**OPENPI, "action_horizon": 0}, "action_horizon=0"),
        ({**OPENPI, "action_dim": 24}, "action_dim=24"),
        ({**LEROBOT, "max_state_dim": 14}, "max_state_dim=14"),
        ({key: value for key, value in OPENPI.items() if key != "action_horizon"}, "'action_horizon' is missing"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused_by_key(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_foreign_config(content, "pi0")


def test_a_card_survives_its_file(tmp_path: Path) -> None:
    folder = write_tiny_policy(tmp_path)
    card = replace(find_policy_card(folder, "concat"), delta_actions=True, normalization="quantile")
    card.save(folder)
    assert find_policy_card(folder, "concat") == card
