"""Folders that are whole, and folders broken in one place each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from golden_folders import KINDS, LAYOUTS, write_foreign_folder
from planar import write_tiny_policy
from planar_run import planar_config
from tokenizers import Tokenizer

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.doctor import policy
from ript.doctor.finding import Finding
from ript.doctor.options import Options
from ript.training.loop import run


def findings(folder: Path, **options: object) -> dict[str, Finding]:
    return {found.subject: found for found in policy.check(Options(folder, **options))}  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_it_says_whose_folder_it_is_and_what_is_assumed_as_loading_does(tmp_path: Path, kind: str, layout: str) -> None:
    folder = write_foreign_folder(tmp_path / "foreign", kind, layout)  # type: ignore[arg-type]
    found = findings(folder)
    assert {finding.level for finding in found.values()} == {"ok"}
    assert (found["weights"].data["kind"], found["weights"].data["by"]) == (kind, layout)
    card = PI0_OFT_Policy(pretrained_path=str(folder)).card
    assert found["use"].data == {key: getattr(card, key) for key in found["use"].data}
    assert "default" in found["use"].text and "none in the checkpoint" in found["condition"].text


def test_a_folder_of_ours_says_its_condition_mode_whatever_it_is(tmp_path: Path) -> None:
    found = findings(write_tiny_policy(tmp_path, condition_mode="token"))
    assert found["condition"].data == {"condition_mode": "token"} and found["weights"].data["by"] == "this project"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def change_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def spread_of_zero(path: Path) -> None:
    content = json.loads(path.read_text())
    content["norm_stats"]["state"]["std"][3] = 0.0
    path.write_text(json.dumps(content))


def larger_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_tokens([f"word{i}" for i in range(1000)])
    tokenizer.save(str(path))


@pytest.mark.parametrize(
    ("name", "damage", "subject", "level", "text"),
    [
        ("norm_stats.json", Path.unlink, "statistics", "problem", "no norm_stats.json in"),
        ("norm_stats.json", cut, "statistics", "problem", "not valid JSON"),
        ("norm_stats.json", spread_of_zero, "statistics", "note", "no spread in dimensions: state 3"),
        ("tokenizer.json", Path.unlink, "tokenizer", "problem", "tokenizer not found"),
        ("tokenizer.json", cut, "tokenizer", "problem", "not a tokenizer file"),
        ("tokenizer.json", larger_tokenizer, "tokenizer", "problem", "token 'word999' has id 1501"),
        ("model.safetensors", change_a_byte, "weights", "problem", "its SHA-256 is not the one"),
        ("condition.safetensors", Path.unlink, "weights", "problem", "condition.safetensors"),
    ],
)
def test_what_is_broken_is_named_and_the_rest_is_looked_at(
    tmp_path: Path, name: str, damage: Callable[[Path], None], subject: str, level: str, text: str
) -> None:
    folder = write_tiny_policy(tmp_path / "broken")
    damage(folder / name)
    found = findings(folder)
    assert found[subject].level == level and text in found[subject].text and found[subject].remedy
    others = {key: finding for key, finding in found.items() if key != subject}
    assert {finding.level for finding in others.values()} == {"ok"} and len(others) == 6


@pytest.mark.parametrize("name", ["model.safetensors", "network.json", "policy.json"])
def test_a_folder_that_cannot_be_read_at_all_is_one_problem(tmp_path: Path, name: str) -> None:
    folder = write_tiny_policy(tmp_path / "broken")
    cut(folder / name) if name != "network.json" else (folder / name).write_text("{}")
    (found,) = findings(folder).values()
    assert found.level == "problem" and name in found.text


def test_weights_of_another_shape_are_named_without_loading_them(tmp_path: Path) -> None:
    folder = write_tiny_policy(tmp_path / "broken")
    sizes = json.loads((folder / "network.json").read_text())
    sizes["expert"]["mlp_width"] = 2 * sizes["expert"]["mlp_width"]
    (folder / "network.json").write_text(json.dumps(sizes))
    found = findings(folder)["weights"]
    assert found.level == "problem" and "expected" in found.text and "mlp" in found.text


def test_files_of_the_command_line_take_the_place_of_missing_ones(tmp_path: Path) -> None:
    folder = write_tiny_policy(tmp_path / "policy")
    given = {}
    for key, name in (("norm_stats", "norm_stats.json"), ("tokenizer", "tokenizer.json")):
        given[key] = Path(shutil.move(folder / name, tmp_path / name))
    assert {finding.level for finding in findings(folder, **given).values()} == {"ok"}


def test_an_adapter_whose_weights_have_moved_is_a_problem_until_they_are_named(tmp_path: Path) -> None:
    base, moved = write_tiny_policy(tmp_path / "base"), tmp_path / "moved"
    short = ("algo.lora={target:expert,r:2}", "rollout.enabled=false", "training.n_steps=1")
    run(planar_config(tmp_path / "run", base, *short, "algo.enable_dynamic_sampling=false"))
    (checkpoint,) = (tmp_path / "run" / "checkpoints").glob("step_*")
    whole = findings(checkpoint)
    assert whole["weights"].level == "ok" and f"an adapter on {base}" in whole["weights"].text
    base.rename(moved)
    (lost,) = findings(checkpoint).values()
    assert lost.level == "problem" and str(base) in lost.text
    named = findings(checkpoint, usage={"base_path": str(moved)})
    assert named["weights"].level == "ok" and str(moved) in named["weights"].text
    change_a_byte(moved / "model.safetensors")
    assert "belongs to" in findings(checkpoint, usage={"base_path": str(moved)})["weights"].text
