"""The formula against torch's own count of saved tensors."""

from contextlib import nullcontext

import pytest
import torch
from saved_tensors import forward, measure_saved_bytes
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers.initialization import no_init_weights

from ript.estimate.activations import Workload, saved_bytes
from ript.estimate.memory import DTYPES, Options, copied_weights, estimate, prepare, trained_parts
from ript.models.pi0.config import Pi0Architecture, public_architecture, small_pi0_config, small_pi05_config
from ript.models.pi0.lora import LoraSettings
from ript.models.pi0.modeling import Pi0FlowModel

TOLERANCE = 0.03
SMALL = [small_pi0_config(), small_pi05_config()]
FULL_SIZE = [public_architecture("pi0"), public_architecture("pi05", chunk_size=10)]


def ratio(architecture: Pi0Architecture, mode: str, options: Options, fake: bool = False) -> float:
    """Formula / measurement; a fake network has shapes and no numbers."""
    with FakeTensorMode() if fake else nullcontext(), no_init_weights():
        model = Pi0FlowModel(architecture).train()
        prepare(model, mode, options)
        if options.vision_checkpointing:
            model.checkpoint_vision()
        number = DTYPES[options.dtype].itemsize
        work = Workload(options.batch_size, options.prompt_tokens, options.branches, number, options.scored_steps)
        measured = measure_saved_bytes(model, work)
    copies = copied_weights(model, options.scored_steps) * number if number < 4 else 0
    return saved_bytes(architecture, trained_parts(mode, options), work) / (measured - copies)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["expert only", "LoRA", "full"])
@pytest.mark.parametrize("architecture", SMALL, ids=["pi0", "pi05"])
def test_the_small_network_keeps_what_the_formula_says(architecture: Pi0Architecture, mode: str, dtype: str) -> None:
    for branches in (1, 2):
        options = Options(batch_size=2, dtype=dtype, branches=branches, prompt_tokens=20)
        assert ratio(architecture, mode, options) == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize(("mode", "dtype"), [("full", "float32"), ("full", "bfloat16"), ("expert only", "bfloat16")])
@pytest.mark.parametrize("architecture", FULL_SIZE, ids=["pi0", "pi05"])
def test_the_full_size_network_too(architecture: Pi0Architecture, mode: str, dtype: str) -> None:
    options = Options(batch_size=1, dtype=dtype)
    assert ratio(architecture, mode, options, fake=True) == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["expert only", "full"])
@pytest.mark.parametrize("architecture", SMALL, ids=["pi0", "pi05"])
def test_a_joint_log_probability_keeps_each_scored_step(architecture: Pi0Architecture, mode: str, dtype: str) -> None:
    options = Options(batch_size=2, dtype=dtype, branches=1, prompt_tokens=20, scored_steps=4)
    assert ratio(architecture, mode, options) == pytest.approx(1, abs=TOLERANCE)


def test_vision_checkpointing_keeps_the_layers_inputs_only() -> None:
    options = Options(batch_size=2, vision_checkpointing=True)
    assert ratio(SMALL[0], "full", options) == pytest.approx(1, abs=0.1)  # the formula counts one layer's recomputation


@pytest.mark.parametrize("target", ["vlm", "expert"])
def test_lora_on_one_part_never_needs_more_than_said(target: str) -> None:
    options = Options(batch_size=2, lora=LoraSettings(target))
    assert 1 - TOLERANCE < ratio(SMALL[0], "LoRA", options) < 1.4  # frozen products keep less than the formula says


def test_nothing_is_kept_without_gradients() -> None:
    model = Pi0FlowModel(SMALL[0])
    with torch.no_grad():
        loss, *_ = forward(model, Workload(1, 20, 2, 4))
    assert loss.grad_fn is None
    assert estimate(SMALL[0], "inference", Options()).gradients == 0
