"""Conversion to openpi's and LeRobot's folders: loaded strictly again, and the actions are the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_folders import KINDS, golden_io, golden_weights, write_foreign_folder
from planar import tiny_policy
from safetensors.torch import load_file

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.convert import convert, main
from ript.env_runner.pi0_runner_utils import actions_to_env

RAW_STATE = np.linspace(-0.3, 0.4, 8)


def act(policy: PI0_OFT_Policy) -> np.ndarray:
    """Actions in the simulator's units for one raw observation."""
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (1, 28, 28, 3), dtype=np.uint8) for name in ("base_0_rgb", "left_wrist_0_rgb")}
    state = policy.norm_stats.state.normalize(RAW_STATE)[None]
    noise = torch.randn((1, policy.chunk_size, 32), generator=torch.Generator().manual_seed(0))
    chunk = policy.select_action({"image": images, "state": state, "prompt": ["pick up the bowl"]}, noise=noise)[0]
    return actions_to_env(chunk.numpy(), policy.norm_stats, RAW_STATE if policy.card.delta_actions else None)


def load(folder: Path, **options: Any) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(folder), **options)


def lerobot_folder(folder: Path, kind: Any, **config: Any) -> Path:
    write_foreign_folder(folder, kind, "lerobot")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_lerobots_folder_becomes_openpis_and_acts_the_same(tmp_path: Path, kind: Any) -> None:
    modes = {"STATE": "QUANTILES", "ACTION": "MEAN_STD"}  # what openpi does for neither kind
    source = lerobot_folder(tmp_path / "source", kind, normalization_mapping=modes)
    convert(source, tmp_path / "out", "openpi")
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == golden_weights(kind).keys()
    assert not (tmp_path / "out" / "policy.json").exists()
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["action_dim"], config["action_horizon"]) == (32, 10)
    again = load(tmp_path / "out", delta_actions=False, discrete_state_input=kind == "pi05")
    assert again.card.normalization == ("quantile" if kind == "pi05" else "z_score")
    assert again.norm_stats_path.is_relative_to(tmp_path / "out" / "assets")
    np.testing.assert_allclose(act(again), act(load(source)), atol=1e-6)


@pytest.mark.parametrize("delta", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_openpis_folder_becomes_lerobots_and_acts_the_same(tmp_path: Path, kind: Any, delta: bool) -> None:
    options = {"delta_actions": delta, "discrete_state_input": kind == "pi05"}
    source = write_foreign_folder(tmp_path / "source", kind)
    convert(source, tmp_path / "out", "lerobot", **options)
    assert load_file(tmp_path / "out" / "model.safetensors").keys() == golden_weights(kind, "lerobot").keys()
    for name in ("norm_stats.json", "policy.json"):
        assert not (tmp_path / "out" / name).exists()
    again = load(tmp_path / "out")  # nothing has to be said: its config.json and its processors say it
    assert again.norm_stats_path == tmp_path / "out" / "policy_preprocessor.json"
    assert (again.card.delta_actions, again.kind) == (delta, kind)
    np.testing.assert_allclose(act(again), act(load(source, **options)), atol=1e-5)


def test_there_and_back_gives_the_same_weights(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", dtype=torch.bfloat16)
    convert(source, tmp_path / "there", "lerobot")
    convert(tmp_path / "there", tmp_path / "back", "openpi")
    first, second = (load_file(folder / "model.safetensors") for folder in (source, tmp_path / "back"))
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype and torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("to", ["openpi", "lerobot"])
@pytest.mark.parametrize("mode", ["concat", "bias"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_condition_becomes_part_of_the_weights(tmp_path: Path, kind: Any, mode: str, to: str) -> None:
    policy = tiny_policy(tmp_path / "first", mode, chunk_size=10, kind=kind, discrete_state_input=kind == "pi05")
    with torch.no_grad():
        for parameter in policy.model.condition.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    policy.save(tmp_path / "trained")
    convert(tmp_path / "trained", tmp_path / "out", to, condition_mode=mode)
    options = {"delta_actions": False, "discrete_state_input": kind == "pi05"} if to == "openpi" else {}
    np.testing.assert_allclose(act(load(tmp_path / "out", **options)), act(policy), atol=1e-4)


def test_an_adapter_becomes_part_of_the_weights(tmp_path: Path) -> None:
    policy = load(write_foreign_folder(tmp_path / "base", "pi0"), lora={"target": "both", "r": 2})
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    policy.save(tmp_path / "adapter")
    convert(tmp_path / "adapter", tmp_path / "out", "openpi")
    np.testing.assert_allclose(act(load(tmp_path / "out")), act(policy), atol=1e-5)


def test_what_the_other_tool_cannot_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"LeRobot's π0\.5 has the state in its prompt"):
        convert(write_foreign_folder(tmp_path / "pi05", "pi05"), tmp_path / "out", "lerobot")
    tiny_policy(tmp_path / "token", "token").save(tmp_path / "trained")
    with pytest.raises(ValueError, match="condition_mode 'token'"):
        convert(tmp_path / "trained", tmp_path / "out", "openpi", condition_mode="token")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ValueError, match="is not empty"):
        convert(write_foreign_folder(tmp_path / "pi0", "pi0"), tmp_path / "full", "openpi")
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_wrote_and_how_to_use_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0")
    main([str(source), str(tmp_path / "out"), "--to", "openpi"])
    assert "action_horizon=10" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "none"), str(tmp_path / "out2"), "--to", "openpi"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"error: FOLDER is not a folder: {tmp_path / 'none'}"]


def test_the_module_is_a_command() -> None:
    done = subprocess.run([sys.executable, "-m", "ript.convert", "--help"], capture_output=True, text=True, check=True)
    assert "--to {openpi,lerobot}" in done.stdout


def test_lerobots_processors_are_complete(tmp_path: Path) -> None:
    convert(write_foreign_folder(tmp_path / "source", "pi0"), tmp_path / "out", "lerobot")
    for pipeline, step in (("pre", "normalizer_processor"), ("post", "unnormalizer_processor")):
        steps = json.loads((tmp_path / "out" / f"policy_{pipeline}processor.json").read_text())["steps"]
        (found,) = [entry for entry in steps if entry["registry_name"] == step]
        tensors = load_file(tmp_path / "out" / found["state_file"])
        assert tensors["action.mean"].shape == (7,)
        assert found["config"]["norm_map"]["ACTION"] == "MEAN_STD"
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["type"], config["n_action_steps"], config["use_relative_actions"]) == ("pi0", 10, True)
    assert config["output_features"]["action"] == {"type": "ACTION", "shape": [7]}
    assert golden_io("pi0")["noise"].shape[1] == config["chunk_size"]
