"""Counts of the real network, the peak against torch's own, and the table."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peak_memory import PeakMemory
from saved_tensors import forward
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.initialization import no_init_weights

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.estimate.__main__ import fits, main, parse_arguments, report
from ript.estimate.activations import Workload
from ript.estimate.memory import MODES, Options, build, estimate, find_architecture, prepare
from ript.models.pi0.config import Pi0Architecture
from ript.models.pi0.heads import HeadSettings
from ript.models.pi0.modeling import Pi0FlowModel

GIB = 2**30


def test_full_size_counts_are_those_of_pi0() -> None:
    model = build(find_architecture("pi0"), "full", Options())
    total, language, expert = (
        sum(p.numel() for p in part.parameters()) / 1e9 for part in (model, model.model.vlm, model.model.dit)
    )
    assert (round(total, 2), round(language, 2), round(expert, 2)) == (3.50, 2.92, 0.57)


def test_trained_parameters_cost_sixteen_bytes_and_frozen_ones_two_or_four() -> None:
    for dtype, frozen in (("float32", 4), ("bfloat16", 2)):
        memory = estimate(find_architecture("pi0"), "expert only", Options(dtype=dtype))
        states = memory.weights + memory.gradients + memory.optimizer
        expected = 16 * memory.trainable + frozen * (memory.parameters - memory.trainable)
        assert states == pytest.approx(expected, rel=1e-3)


def test_heads_are_trained_in_float32_and_are_as_large_as_the_policys_own(tiny_policy_folder: Path) -> None:
    settings = HeadSettings(add_value_head=True, sampler="noise")
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), heads=settings)
    size = sum(p.numel() for p in policy.heads.parameters())
    architecture = find_architecture(str(tiny_policy_folder))
    for mode, bytes_each in (("inference", 4), ("expert only", 16), ("full", 16)):
        with_heads, without = (
            estimate(architecture, mode, Options(dtype="bfloat16", heads=heads)) for heads in (("value", "log_std"), ())
        )
        assert with_heads.parameters - without.parameters == size
        states = (sum((m.weights, m.gradients, m.optimizer)) for m in (with_heads, without))
        assert next(states) - next(states) == bytes_each * size


def test_a_frozen_policy_costs_what_inference_costs_and_its_trained_heads(tiny_policy_folder: Path) -> None:
    settings = HeadSettings(add_value_head=True, sampler="latent")
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), heads=settings, freeze_policy=True)
    size = sum(p.numel() for group in policy.trainable_params.values() for p in group)
    options = Options(heads=("latent", "value"))
    architecture = find_architecture(str(tiny_policy_folder))
    heads_only, inference = (estimate(architecture, mode, options) for mode in ("heads only", "inference"))
    assert heads_only.trainable == size and heads_only.parameters == inference.parameters
    assert heads_only.gradients + heads_only.optimizer == 12 * size
    assert heads_only.activations == inference.activations
    with pytest.raises(ValueError, match="log_std latent"):
        estimate(architecture, "full", Options(heads=("log_std", "latent")))


def shallow(architecture: Pi0Architecture, depth: int) -> Pi0Architecture:
    parts = {name: replace(getattr(architecture, name), depth=depth) for name in ("text", "expert", "vision")}
    return replace(architecture, **parts)


@pytest.mark.parametrize(
    ("mode", "dtype"), [("inference", "bfloat16"), ("expert only", "float32"), ("full", "bfloat16")]
)
def test_the_peak_is_what_torch_counts_for_pi0_of_full_width(mode: str, dtype: str) -> None:
    options = Options(batch_size=2, dtype=dtype)
    architecture = shallow(find_architecture("pi0"), depth=6)
    memory = PeakMemory()
    work = Workload(2, options.prompt_tokens, options.branches, 4 if dtype == "float32" else 2)
    with FakeTensorMode(), no_init_weights():
        model = Pi0FlowModel(architecture)
        prepare(model, mode, options)
        parameters = [p for p in model.parameters() if p.requires_grad]
        for parameter in model.parameters():
            memory.add(parameter)
        with memory, torch.set_grad_enabled(bool(parameters)):
            if not parameters:
                forward(model, work)
            else:
                optimizer = torch.optim.AdamW(parameters, foreach=True)
                for micro_batches in (1, 2):
                    for _ in range(micro_batches):
                        forward(model, work)[0].backward()
                    optimizer.step()
                    optimizer.zero_grad()
    assert estimate(architecture, mode, options).peak == pytest.approx(memory.peak, rel=0.05)


def test_every_model_has_a_table_with_every_mode(tiny_policy_folder: Path) -> None:
    for model in ("small", "small_pi05", str(tiny_policy_folder)):
        table = report(parse_arguments(["--model", model, "--gpus", "2", "--dtype", "bfloat16"]))
        assert all(f"\n{mode}  " in table for mode in MODES)
        assert "16 windows at once" in table


def test_a_card_fits_with_room_to_spare() -> None:
    assert fits(10 * GIB) == "24 GB and more"
    assert fits(23 * GIB) == "40 GB and more"
    assert fits(131 * GIB) == "141 GB"
    assert fits(139 * GIB) == "none of these"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--model", "pi1"], "model='pi1' is neither a folder nor one of pi0, pi05"),
        (["--dtype", "float16"], "dtype='float16'.*bfloat16"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--heads", "critic"], "heads='critic'.*value, log_std"),
        (["--scored-steps", "0"], "scored_steps=0"),
        (["--lora-rank", "0"], "lora.r=0"),
    ],
)
def test_only_invalid_arguments_are_errors(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["estimate", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    with pytest.raises((ValueError, OSError), match=reason):
        report(parse_arguments(arguments))
    assert capsys.readouterr().err.startswith("error: ")


def test_a_masked_camera_needs_no_memory() -> None:
    architecture = find_architecture("small")
    both, one = (estimate(architecture, "full", Options(cameras=cameras)) for cameras in (2, 1))
    assert one.parameters == both.parameters
    assert one.prefix_cache < both.prefix_cache and one.activations < both.activations
