"""What is trained, in which precision, and that all of it gets a gradient."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_folders import KINDS, write_foreign_folder
from peft import PeftModel
from samples import episode

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.models.pi0.conditioning import CONDITION_MODES
from ript.models.pi0.config import Kind
from ript.storage.batch import Batch
from ript.storage.windows import WindowCutter

MODES: dict[str, dict[str, Any]] = {
    "everything": {},
    "frozen vision": {"freeze_vision_encoder": True},
    "expert only": {"train_expert_only": True},
    "lora vlm": {"lora": {"target": "vlm", "r": 2}},
    "lora expert": {"lora": {"target": "expert", "r": 2, "alpha": 4}, "train_expert_only": True},
    "lora both": {"lora": {"target": "both", "r": 2}},
    "bfloat16": {"dtype": "bfloat16"},
    "bfloat16 expert": {"dtype": "bfloat16", "train_expert_only": True},
    "bfloat16 lora": {"dtype": "bfloat16", "lora": {"target": "both", "r": 2}},
    "checkpointing": {"vision_checkpointing": True},
}


def build(folder: Path, kind: Kind = "pi0", mode: str = "concat", **options: Any) -> PI0_OFT_Policy:
    """A π0 or π0.5 whose weights are all random: no gate is closed, no norm at its start value."""
    torch.manual_seed(0)
    path = folder if (folder / "model.safetensors").exists() else write_foreign_folder(folder, kind)
    return PI0_OFT_Policy(pretrained_path=str(path), condition_mode=mode, **options)


def total_loss(policy: PI0_OFT_Policy) -> torch.Tensor:
    windows = list(WindowCutter().cut(episode(20, every=10, horizon=10), 1.0, policy.norm_stats, horizon=10))
    return CFGFlowLoss()(policy, Batch.of(windows), (0,)).total.sum()


def noise(policy: PI0_OFT_Policy) -> torch.Tensor:
    return torch.randn(1, policy.chunk_size, 32, generator=torch.Generator().manual_seed(0))


def actions(policy: PI0_OFT_Policy) -> torch.Tensor:
    window = next(WindowCutter().cut(episode(20, every=10, horizon=10), 1.0, policy.norm_stats, horizon=10))
    single = window.observation
    images = {name: image[None] for name, image in single["image"].items()}
    batch = {"image": images, "state": single["state"][None], "prompt": [single["prompt"]]}
    return policy.select_action(batch, noise=noise(policy))


def shake(policy: PI0_OFT_Policy) -> None:
    """A step in a random direction: nothing is at its start value any more."""
    with torch.no_grad():
        for parameter in (p for group in policy.trainable_params.values() for p in group):
            parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("training", MODES)
@pytest.mark.parametrize("condition", CONDITION_MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_two_groups_are_exactly_what_gets_a_gradient(
    tmp_path: Path, kind: Kind, condition: str, training: str
) -> None:
    policy = build(tmp_path, kind, condition, **MODES[training])
    groups = [{id(p) for p in policy.trainable_params[name]} for name in ("model", "header")]
    assert all(groups) and not groups[0] & groups[1]
    assert groups[0] | groups[1] == {id(p) for p in policy.model.parameters() if p.requires_grad}
    policy.model.train()
    total_loss(policy).backward()
    for name, parameter in policy.model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("training", MODES)
def test_trained_parameters_are_float32_and_the_frozen_backbone_is_in_the_chosen_dtype(
    tmp_path: Path, training: str
) -> None:
    policy = build(tmp_path, **MODES[training])
    chosen = getattr(torch, MODES[training].get("dtype", "float32"))
    for name, parameter in policy.model.named_parameters():
        frozen_backbone = name.startswith("model.") and not parameter.requires_grad
        assert parameter.dtype == (chosen if frozen_backbone else torch.float32), name


@pytest.mark.parametrize("training", ["bfloat16", "bfloat16 expert", "bfloat16 lora"])
@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_changes_the_actions_little(tmp_path: Path, kind: Kind, training: str) -> None:
    exact = actions(build(tmp_path / "exact", kind))
    rounded = actions(build(tmp_path / "rounded", kind, **MODES[training]))
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointing_the_vision_tower_changes_no_gradient(tmp_path: Path, kind: Kind) -> None:
    gradients = []
    for checkpointing in (False, True):
        policy = build(tmp_path / str(checkpointing), kind, vision_checkpointing=checkpointing)
        layers = policy.model.model.vlm.vision_tower.encoder.layers
        runs = []
        layers[0].mlp.fc1.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        policy.model.train()
        total_loss(policy).backward()
        assert len(runs) == (2 if checkpointing else 1)
        gradients.append([p.grad for p in policy.model.parameters() if p.requires_grad])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_a_frozen_part_stays_as_it_was(tmp_path: Path) -> None:
    policy = build(tmp_path, train_expert_only=True)
    assert not any(p.requires_grad for p in policy.model.model.vlm.parameters())
    assert all(p.requires_grad for p in policy.model.model.dit.layers.parameters())


@pytest.mark.parametrize("target", ["vlm", "expert", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_adapters_start_as_the_base_and_merge_to_the_same_actions(tmp_path: Path, kind: Kind, target: str) -> None:
    base = actions(build(tmp_path / "base", kind))
    policy = build(tmp_path / "base", lora={"target": target, "r": 2, "alpha": 8})
    assert torch.equal(actions(policy), base)
    shake(policy)
    adapted = actions(policy)
    assert (adapted - base).abs().max() > 0.01
    policy.merge_lora()
    assert policy.trainable_params["model"] and not any("lora_" in n for n, _ in policy.model.named_parameters())
    torch.testing.assert_close(actions(policy), adapted, atol=1e-5, rtol=1e-5)
    policy.save(tmp_path / "merged")
    alone = PI0_OFT_Policy(pretrained_path=str(tmp_path / "merged"))
    assert torch.equal(actions(alone), actions(policy))


def saved_adapter(folder: Path, kind: Kind = "pi0") -> PI0_OFT_Policy:
    policy = build(folder / "base", kind, lora={"target": "both", "r": 2})
    shake(policy)
    policy.save(folder / "adapter")
    return policy


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_saved_without_its_base_and_loads_exactly(tmp_path: Path, kind: Kind) -> None:
    policy = saved_adapter(tmp_path, kind)
    assert not (tmp_path / "adapter/model.safetensors").exists()
    again = PI0_OFT_Policy(pretrained_path=str(tmp_path / "adapter"))
    assert torch.equal(actions(again), actions(policy))
    assert [len(group) for group in again.trainable_params.values()] == [
        len(group) for group in policy.trainable_params.values()
    ]
    again.save(tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "policy.json").read_text()) for name in ("adapter", "second"))
    assert first == second


def test_peft_reads_the_adapter(tmp_path: Path) -> None:
    policy = saved_adapter(tmp_path)
    base = PI0_OFT_Policy(pretrained_path=str(tmp_path / "base")).model
    loaded = PeftModel.from_pretrained(base, str(tmp_path / "adapter"))
    theirs = {name.removeprefix("base_model.model."): p for name, p in loaded.named_parameters() if "lora_" in name}
    ours = {name: p for name, p in policy.model.named_parameters() if "lora_" in name}
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], p) for name, p in ours.items())


def test_an_adapter_on_other_weights_is_refused(tmp_path: Path) -> None:
    saved_adapter(tmp_path)
    write_foreign_folder(tmp_path / "base", "pi0", **{"state_proj.bias": torch.zeros(32)})
    with pytest.raises(ValueError, match="is not the file that the adapter"):
        PI0_OFT_Policy(pretrained_path=str(tmp_path / "adapter"))


def test_an_adapter_without_its_base_says_what_is_missing(tmp_path: Path) -> None:
    saved_adapter(tmp_path)
    (tmp_path / "base").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "base")):
        PI0_OFT_Policy(pretrained_path=str(tmp_path / "adapter"))


def test_training_goes_on_with_the_same_adapter_only(tmp_path: Path) -> None:
    saved_adapter(tmp_path)
    folder = str(tmp_path / "adapter")
    PI0_OFT_Policy(pretrained_path=folder, lora={"target": "both", "r": 2})
    with pytest.raises(ValueError, match=r"r=2.*not.*r=4"):
        PI0_OFT_Policy(pretrained_path=folder, lora={"target": "both", "r": 4})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lora": {"target": "vision"}}, "lora.target='vision'.*expert"),
        ({"lora": {"target": "vlm", "r": 0}}, "lora.r=0"),
        ({"lora": {"target": "vlm", "rank": 4}}, "lora setting='rank'.*alpha"),
        ({"lora": {"r": 4}}, "lora.target is missing.*expert"),
        ({"lora": {"target": "vlm", "dropout": 2}}, "lora.dropout=2"),
        ({"lora": {"target": "vlm"}, "train_expert_only": True}, "lora.target='vlm'.*train_expert_only"),
        ({"dtype": "float16"}, "dtype='float16'.*bfloat16"),
        ({"delta_actions": "yes"}, "delta_actions='yes'"),
        ({"discrete_state_input": True}, "discrete_state_input.*π0.5"),
    ],
)
def test_bad_options_are_refused_by_value(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(tmp_path, **options)


def test_adapters_need_weights() -> None:
    with pytest.raises(ValueError, match="lora is not valid with random_weights"):
        PI0_OFT_Policy(random_weights=True, lora={"target": "both"})


def test_random_weights_are_for_the_small_policy_only(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="random_weights=True is not valid with pretrained_path"):
        build(tmp_path, random_weights=True)


def test_dropout_acts_in_training_only(tmp_path: Path) -> None:
    policy = build(tmp_path, lora={"target": "both", "r": 2, "dropout": 0.5})
    shake(policy)
    assert torch.equal(actions(policy), actions(policy))
    policy.model.train()
    assert not torch.equal(actions(policy), actions(policy))


@pytest.mark.slow
def test_a_compiled_policy_gives_the_same_actions(tmp_path: Path) -> None:
    plain, compiled = (build(tmp_path, compile=flag) for flag in (False, True))
    torch.testing.assert_close(actions(compiled), actions(plain), atol=1e-5, rtol=1e-5)
