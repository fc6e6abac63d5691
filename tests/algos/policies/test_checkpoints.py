"""The policy on checkpoints of openpi and LeRobot: what it assumes, what it keeps, what it saves."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_folders import KINDS, LAYOUTS, STATS, golden_io, write_foreign_folder
from planar import tiny_policy
from tokenizers import Tokenizer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy


def observation(seed: int = 0, size: int = 40) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    images = {
        name: rng.integers(0, 256, (3, size, size, 3), dtype=np.uint8) for name in ("base_0_rgb", "left_wrist_0_rgb")
    }
    return {"image": images, "state": rng.uniform(-1, 1, (3, 8)).astype(np.float32), "prompt": ["pick up the bowl"] * 3}


def load(folder: Path, **options: Any) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(folder), **options)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_checkpoint_acts_the_same_after_saving(tmp_path: Path, kind: Any, layout: str) -> None:
    policy = load(write_foreign_folder(tmp_path / "source", kind, layout))
    policy.save(tmp_path / "saved")
    again = load(tmp_path / "saved")
    noise = golden_io(kind)["noise"]
    first, second = (p.select_action(observation(), cfg_scale=1.5, noise=noise) for p in (policy, again))
    assert first.shape == (3, 10, 7)
    assert torch.equal(first, second)
    is_openpis_pi0 = kind == "pi0" and layout == "openpi"
    assert again.card.delta_actions == policy.card.delta_actions == is_openpis_pi0


def test_public_pi0_has_delta_actions_and_z_scores(tmp_path: Path) -> None:
    card = load(write_foreign_folder(tmp_path, "pi0")).card
    assert (card.delta_actions, card.normalization, card.discrete_state_input) == (True, "z_score", False)


def test_public_pi05_has_plain_actions_and_quantiles(tmp_path: Path) -> None:
    policy = load(write_foreign_folder(tmp_path, "pi05"))
    card = policy.card
    assert (card.delta_actions, card.normalization, card.discrete_state_input) == (False, "quantile", False)
    assert policy.norm_stats.state.mode == "quantile"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("delta_actions", [False, True])
def test_delta_actions_can_be_set_and_are_saved(tmp_path: Path, kind: Any, delta_actions: bool) -> None:
    policy = load(write_foreign_folder(tmp_path / "source", kind), delta_actions=delta_actions)
    policy.save(tmp_path / "saved")
    assert load(tmp_path / "saved").card.delta_actions is delta_actions
    assert load(tmp_path / "saved", delta_actions=not delta_actions).card.delta_actions is not delta_actions


def test_the_condition_mode_is_the_users_until_one_was_trained(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0")
    for mode in ("concat", "bias", "token"):
        load(source, condition_mode=mode).save(tmp_path / mode)
        assert load(tmp_path / mode, condition_mode=mode).card.condition_mode == mode
    with pytest.raises(ValueError, match="trained with condition_mode 'token', not 'bias'"):
        load(tmp_path / "token", condition_mode="bias")


def test_statistics_stay_where_the_original_tool_looks_for_them(tmp_path: Path) -> None:
    load(write_foreign_folder(tmp_path / "source", "pi0")).save(tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / STATS).read_text()) == json.loads((tmp_path / "source" / STATS).read_text())


def test_statistics_given_by_hand_are_the_only_ones_saved(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0")
    mine = tmp_path / "mine.json"
    mine.write_bytes((source / STATS).read_bytes())
    load(source, norm_stats_path=str(mine)).save(tmp_path / "saved")
    assert load(tmp_path / "saved").norm_stats_path == tmp_path / "saved" / "norm_stats.json"


def test_statistics_of_another_name_in_the_folder_are_saved_under_the_name_that_is_looked_for(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0")
    (source / STATS).rename(source / "other_name.json")
    load(source, norm_stats_path=str(source / "other_name.json")).save(tmp_path / "saved")
    assert load(tmp_path / "saved").norm_stats_path == tmp_path / "saved" / "norm_stats.json"


@pytest.mark.parametrize("options", [{}, {"lora": {"target": "both", "r": 2}}])
def test_saved_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path, options: dict[str, Any]) -> None:
    policy = load(write_foreign_folder(tmp_path / "source", "pi0"), **options)
    before = os.umask(0o022)
    try:
        policy.save(tmp_path / "saved")
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "saved").rglob("*") if path.is_file()}
    assert modes == dict.fromkeys(modes, "0o644")


def test_a_tokenizer_beyond_the_vocabulary_is_refused_before_the_network_is_loaded(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens([f"word{i}" for i in range(600)])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json: .* 512 token embeddings"):
        load(folder)


def test_missing_statistics_and_tokenizer_say_what_to_set(tmp_path: Path) -> None:
    folder = write_foreign_folder(tmp_path, "pi0")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="tokenizer_path"):
        load(folder)
    (folder / STATS).unlink()
    with pytest.raises(FileNotFoundError, match="norm_stats_path"):
        load(folder)


def test_pi05_can_read_the_state_from_the_prompt(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi05")
    plain, informed = load(source), load(source, discrete_state_input=True)
    informed.save(tmp_path / "saved")
    seen = observation()
    moved = {**seen, "state": -seen["state"]}
    noise = golden_io("pi05")["noise"]
    assert torch.equal(plain.select_action(seen, noise=noise), plain.select_action(moved, noise=noise))
    for policy in (informed, load(tmp_path / "saved")):
        text = policy.tokenizer.decode(policy.prepare(seen).tokens[0].tolist(), skip_special_tokens=False)
        assert text.startswith("<bos>Task: pick up the bowl, State: ")
        assert not torch.equal(policy.select_action(seen, noise=noise), policy.select_action(moved, noise=noise))


def test_prompt_length_is_the_kinds(tmp_path: Path) -> None:
    prompts = {**observation(), "prompt": ["pick up the bowl " * 14] * 3}
    tiny_policy(tmp_path / "pi05", kind="pi05").prepare(prompts)
    with pytest.raises(ValueError, match="at most 48"):
        tiny_policy(tmp_path / "pi0").prepare(prompts)
