"""What folders of openpi and LeRobot say about themselves is followed, and said in one line of the log."""

import json
import pickle
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_folders import KINDS, STATS, golden_architecture, golden_io, write_foreign_folder
from safetensors.torch import load_file, save_file

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.env_runner.pi0_libero_runner import Pi0LiberoRunner
from ript.models.pi0 import layouts
from ript.models.pi0.config import public_architecture

STATE = {"mean": 0.1, "std": 0.5, "q01": -0.9, "q99": 0.8, "min": -1.5, "max": 1.25}


def load(folder: Path, **options: Any) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(folder), **options)


def write_lerobot_folder(folder: Path, kind: Any = "pi0", **config: Any) -> Path:
    """A folder of LeRobot whose config.json says more."""
    write_foreign_folder(folder, kind, "lerobot")
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | config))
    return folder


def lerobot_stats(width: int, shift: float = 0.0) -> dict[str, torch.Tensor]:
    return {name: torch.full((width,), value + shift) for name, value in STATE.items()}


def write_processors(folder: Path) -> None:
    """Processors with statistics, as LeRobot's pipelines save them; the folder's own norm_stats.json goes."""
    (folder / "norm_stats.json").unlink()
    tensors = {f"observation.state.{key}": x for key, x in lerobot_stats(8).items()}
    tensors |= {f"action.{key}": x for key, x in lerobot_stats(7, 0.05).items()}
    tensors |= {"observation.images.image.mean": torch.zeros(3, 1, 1)}
    for pipeline, step, index in (
        ("policy_preprocessor", "normalizer_processor", 5),
        ("policy_postprocessor", "unnormalizer_processor", 0),
    ):
        name = f"{pipeline}_step_{index}_{step}.safetensors"
        save_file(tensors, folder / name)
        steps = [{"registry_name": "to_batch_processor", "config": {}}, {"registry_name": step, "state_file": name}]
        (folder / f"{pipeline}.json").write_text(json.dumps({"name": pipeline, "steps": steps}))


def assert_stats(policy: PI0_OFT_Policy) -> None:
    np.testing.assert_allclose(policy.norm_stats.state.offset, STATE["mean"], rtol=1e-6)
    np.testing.assert_allclose(policy.norm_stats.actions.offset, STATE["mean"] + 0.05, rtol=1e-6)


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ({"STATE": "QUANTILES", "ACTION": "QUANTILES"}, ("quantile", "quantile")),
        ({"STATE": "MEAN_STD", "ACTION": "MEAN_STD", "VISUAL": "IDENTITY"}, ("z_score", "z_score")),
        ({"STATE": "MEAN_STD", "ACTION": "IDENTITY"}, ("z_score", "identity")),
        ({"ACTION": "QUANTILES"}, ("identity", "quantile")),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_lerobots_config_decides_the_normalisation(
    tmp_path: Path, kind: Any, modes: dict[str, str], expected: tuple[str, str]
) -> None:
    policy = load(write_lerobot_folder(tmp_path / "source", kind, normalization_mapping=modes))
    policy.save(tmp_path / "saved")
    for stats in (policy.norm_stats, load(tmp_path / "saved").norm_stats):
        assert (stats.state.mode, stats.actions.mode) == expected


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_lerobots_config_decides_whether_actions_are_relative(tmp_path: Path, kind: Any, relative: bool) -> None:
    assert load(write_lerobot_folder(tmp_path, kind, use_relative_actions=relative)).card.delta_actions is relative


def test_lerobots_defaults_are_lerobots(tmp_path: Path) -> None:
    """They are not those of openpi's LIBERO checkpoints: absolute actions, and π0.5 reads the state in its prompt."""
    pi0, pi05 = (load(write_lerobot_folder(tmp_path / kind, kind)).card for kind in KINDS)
    assert (pi0.delta_actions, pi0.normalization, pi0.discrete_state_input) == (False, "z_score", False)
    assert (pi05.delta_actions, pi05.normalization, pi05.discrete_state_input) == (False, "quantile", True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"normalization_mapping": {"STATE": "QUANTILE10"}}, r"normalization_mapping\.STATE='QUANTILE10'.*QUANTILES"),
        ({"normalization_mapping": "MEAN_STD"}, "normalization_mapping='MEAN_STD'"),
        ({"use_relative_actions": "yes"}, "use_relative_actions='yes'"),
        ({"use_relative_actions": True, "action_feature_names": list("xyzabcg")}, r"relative_exclude_joints=\[\]"),
        ({"n_action_steps": 0}, "n_action_steps=0"),
        ({"n_action_steps": 11}, "n_action_steps=11.*chunk_size is 10"),
    ],
)
def test_a_config_that_cannot_be_followed_is_refused_by_file_and_key(
    tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"config\.json: {message}"):
        load(write_lerobot_folder(tmp_path, **config))


def test_options_win_over_what_the_folder_says(tmp_path: Path) -> None:
    source = write_lerobot_folder(tmp_path, "pi05", normalization_mapping={"STATE": "MEAN_STD", "ACTION": "IDENTITY"})
    policy = load(source, delta_actions=True, discrete_state_input=False, normalization="quantile")
    assert (policy.card.delta_actions, policy.card.discrete_state_input) == (True, False)
    assert (policy.norm_stats.state.mode, policy.norm_stats.actions.mode) == ("quantile", "quantile")
    with pytest.raises(ValueError, match=r"normalization='mean'.*z_score, quantile, min_max, identity"):
        load(source, normalization="mean")


def test_each_start_says_in_one_line_what_was_assumed_and_from_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = write_lerobot_folder(tmp_path / "source", use_relative_actions=True, n_action_steps=4)
    load(source, normalization="quantile").save(tmp_path / "saved")
    load(tmp_path / "saved")
    load(write_foreign_folder(tmp_path / "openpi", "pi0"))
    first, second, third = [record.getMessage() for record in caplog.records if "chunk of" in record.getMessage()]
    assert first.startswith(f"{source}: chunk of 10, delta_actions=True (config.json), ")
    assert "normalization=quantile (option), open_loop=4 (config.json), statistics of" in first
    assert "delta_actions=True (policy.json)" in second
    assert "delta_actions=True (default for openpi's pi0)" in third


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_read_from_lerobots_processors(tmp_path: Path, kind: Any) -> None:
    modes = {"STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
    source = write_lerobot_folder(tmp_path / "source", kind, normalization_mapping=modes)
    write_processors(source)
    policy = load(source)
    assert_stats(policy)
    shutil.copytree(source, tmp_path / "copy")
    shutil.rmtree(source)
    policy.save(tmp_path / "saved")
    assert_stats(load(tmp_path / "saved"))
    for path in (tmp_path / "copy").glob("policy_*"):  # so that LeRobot loads what was saved
        assert (tmp_path / "saved" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("config", "expected"), [("MIN_MAX", STATE["min"]), ("QUANTILES", STATE["q01"]), ("IDENTITY", 0.0)]
)
def test_the_processors_statistics_are_those_of_the_mode(tmp_path: Path, config: str, expected: float) -> None:
    source = write_lerobot_folder(tmp_path, normalization_mapping={"STATE": config, "ACTION": config})
    write_processors(source)
    np.testing.assert_allclose(load(source).norm_stats.state.offset, expected, rtol=1e-6)


def test_a_missing_or_misplaced_processor_file_is_named(tmp_path: Path) -> None:
    source = write_lerobot_folder(tmp_path)
    write_processors(source)
    (state,) = source.glob("policy_preprocessor_step_*")
    state.unlink()
    with pytest.raises(FileNotFoundError, match=state.name):
        load(source)
    steps = [{"registry_name": "normalizer_processor", "state_file": "../elsewhere.safetensors"}]
    (source / "policy_preprocessor.json").write_text(json.dumps({"steps": steps}))
    with pytest.raises(ValueError, match=r"policy_preprocessor\.json: state_file '\.\./elsewhere"):
        load(source)


@pytest.mark.parametrize("layout", ["lerobot", "legacy"])
def test_statistics_among_the_weights_are_read_and_kept(tmp_path: Path, layout: str) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", layout)
    (source / "norm_stats.json").unlink()
    weights = load_file(source / "model.safetensors")
    for prefix, stats in (
        ("normalize_inputs.buffer_observation_state", lerobot_stats(8)),
        ("normalize_targets.buffer_action", lerobot_stats(7, 0.05)),
        ("unnormalize_outputs.buffer_action", lerobot_stats(7, 0.05)),
    ):
        weights |= {f"{prefix}.{key}": stats[key] for key in ("mean", "std")}
    save_file(weights, source / "model.safetensors")
    policy = load(source)
    assert_stats(policy)
    policy.save(tmp_path / "saved")
    assert_stats(load(tmp_path / "saved"))
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == weights.keys()


class Bomb:
    """Pickled code that would leave a file behind."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("kind", KINDS)
def test_openpis_training_output_needs_no_config(tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden network stands for the public sizes, which are too large for a test."""
    sizes = golden_architecture(kind)
    monkeypatch.setattr(layouts, "SIGLIP_SO400M", sizes.vision)
    monkeypatch.setattr(layouts, "GEMMA_VARIANTS", {"gemma_2b": sizes.text, "gemma_300m": sizes.expert})
    monkeypatch.setattr(layouts, "PUBLIC_CHUNK", {kind: 10})
    folder = write_foreign_folder(tmp_path, kind)
    expected = load(folder).select_action(seen(), noise=golden_io(kind)["noise"])
    for name in ("config.json", "network.json"):
        (folder / name).unlink()
    for name in ("optimizer.pt", "metadata.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(tmp_path / "opened")))
    policy = load(folder)
    assert policy.model.architecture == sizes
    assert torch.equal(policy.select_action(seen(), noise=golden_io(kind)["noise"]), expected)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [layouts.OPENPI, layouts.LEROBOT, layouts.LEGACY])
def test_public_sizes_are_found_in_the_shapes(kind: Any, layout: layouts.Layout) -> None:
    from ript.models.pi0.modeling import Pi0FlowModel

    expected = public_architecture(kind, chunk_size=layouts.PUBLIC_CHUNK[kind])
    with torch.device("meta"):
        state = Pi0FlowModel(expected).state_dict()
    shapes = {layout.rename(k): tuple(v.shape) for k, v in state.items() if not k.startswith("condition.")}
    assert layouts.architecture_from_shapes(shapes) == expected


def seen() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 256, (3, 28, 28, 3), dtype=np.uint8) for name in ("base_0_rgb", "left_wrist_0_rgb")}
    return {"image": images, "state": rng.uniform(-1, 1, (3, 8)).astype(np.float32), "prompt": ["pick up the bowl"] * 3}


def shard(folder: Path) -> None:
    """Splits the weights as Hugging Face's tools do."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    files = {f"model-0000{i + 1}-of-00003.safetensors": names[i::3] for i in range(3)}
    for name, part in files.items():
        save_file({key: weights[key] for key in part}, folder / name, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {key: name for name, part in files.items() for key in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("layout", ["openpi", "lerobot"])
def test_weights_in_several_files_are_read_and_saved_as_one(tmp_path: Path, layout: str) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", layout)
    weights = load_file(source / "model.safetensors")
    expected = load(source).select_action(seen(), noise=golden_io("pi0")["noise"])
    shard(source)
    policy = load(source)
    assert torch.equal(policy.select_action(seen(), noise=golden_io("pi0")["noise"]), expected)
    policy.save(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == weights.keys()


def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path: Path) -> None:
    source = write_foreign_folder(tmp_path, "pi0")
    shard(source)
    index = source / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    name, file = content["weight_map"].popitem()
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"index\.json: does not fit its files, in {name}"):
        load(source)
    index.write_text(json.dumps({"weight_map": {name: f"../{file}"}}))
    with pytest.raises(ValueError, match=r"not the name of a file beside it"):
        load(source)
    index.write_text(json.dumps({"weight_map": {name: "model-00004-of-00003.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="model-00004-of-00003"):
        load(source)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("layout", ["openpi", "lerobot"])
def test_names_behind_a_wrapper_are_read(tmp_path: Path, layout: str, prefix: str) -> None:
    source = write_foreign_folder(tmp_path / "source", "pi0", layout)
    weights = load_file(source / "model.safetensors")
    save_file({prefix + name: x for name, x in weights.items()}, source / "model.safetensors")
    load(source).save(tmp_path / "saved")
    assert load_file(tmp_path / "saved" / "model.safetensors").keys() == weights.keys()
    save_file({prefix + "a": torch.ones(1), "a": torch.ones(1)}, source / "model.safetensors")
    with pytest.raises(ValueError, match="there twice"):
        load(source)


def test_n_action_steps_is_the_default_of_open_loop(tmp_path: Path) -> None:
    policy = load(write_lerobot_folder(tmp_path / "source", n_action_steps=4))
    policy.save(tmp_path / "saved")
    for each in (policy, load(tmp_path / "saved")):
        assert each.open_loop == 4
        assert Pi0LiberoRunner._open_loop(RunnerStub(None), each) == 4
        assert Pi0LiberoRunner._open_loop(RunnerStub(7), each) == 7
    assert load(write_foreign_folder(tmp_path / "openpi", "pi0")).open_loop == 10


class RunnerStub:
    def __init__(self, open_loop: int | None):
        self.open_loop = open_loop


def test_cards_of_earlier_versions_load(tmp_path: Path) -> None:
    load(write_foreign_folder(tmp_path / "source", "pi0")).save(tmp_path / "saved")
    card = json.loads((tmp_path / "saved" / "policy.json").read_text())
    for key in ("open_loop", "state_normalization"):
        del card[key]
    (tmp_path / "saved" / "policy.json").write_text(json.dumps(card))
    assert load(tmp_path / "saved").open_loop == 10
    (tmp_path / "saved" / "policy.json").write_text(json.dumps(card | {"open_loop": "all"}))
    with pytest.raises(ValueError, match=r"policy\.json: open_loop='all'"):
        load(tmp_path / "saved")


def test_an_adapter_whose_weights_have_moved_takes_their_new_place(tmp_path: Path) -> None:
    base = write_foreign_folder(tmp_path / "base", "pi0")
    load(base, lora={"target": "both", "r": 2}).save(tmp_path / "adapter")
    base.rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match=rf"missing: {base}; set base_path"):
        load(tmp_path / "adapter")
    policy = load(tmp_path / "adapter", base_path=str(tmp_path / "moved"))
    policy.save(tmp_path / "again")
    assert load(tmp_path / "again").card.base.path == str(tmp_path / "moved")
    other = write_foreign_folder(tmp_path / "other", "pi0", **{"state_proj.bias": torch.zeros(32)})
    with pytest.raises(ValueError, match="its SHA-256 is another"):
        load(tmp_path / "adapter", base_path=str(other))


@pytest.mark.parametrize("inside", ["policy", "pretrained_model"])
def test_a_training_checkpoint_is_taken_for_the_policy_inside(tmp_path: Path, inside: str) -> None:
    folder = write_foreign_folder(tmp_path / "step_000010" / inside, "pi0")
    assert load(tmp_path / "step_000010").folder == folder


def test_a_folder_without_weights_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights not found: .*model\.safetensors"):
        load(tmp_path)


def test_a_jax_checkpoint_names_openpis_conversion_command(tmp_path: Path) -> None:
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "_METADATA").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"Orbax.*convert_jax_model_to_pytorch\.py --checkpoint_dir") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_shipped_weights_act_the_same_as_a_folder_of_lerobot(tmp_path: Path) -> None:
    for name in ("network.json", "tokenizer.json", "norm_stats.json"):
        shutil.copy(DEFAULT_FOLDER / name, tmp_path)
    weights = {f"model.{name}": x for name, x in load_file(DEFAULT_FOLDER / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    config = {"type": "pi0", "chunk_size": 50, "max_action_dim": 32, "max_state_dim": 32, "use_relative_actions": False}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ours, theirs = PI0_OFT_Policy(), load(tmp_path)
    usage = [(p.card.delta_actions, p.card.normalization, p.card.discrete_state_input) for p in (ours, theirs)]
    assert usage[0] == usage[1]
    assert asdict(ours.model.architecture) == asdict(theirs.model.architecture)


def test_openpis_assets_stay_below_assets(tmp_path: Path) -> None:
    load(write_foreign_folder(tmp_path / "source", "pi0")).save(tmp_path / "saved")
    assert load(tmp_path / "saved").norm_stats_path == tmp_path / "saved" / STATS
