"""π0.5's modulated norms."""

import torch
from torch import nn

from ript.models.pi0.adarms import AdaRMSNorm
from ript.models.pi0.config import small_pi05_config
from ript.models.pi0.modeling import Pi0FlowModel


def test_the_norm_follows_its_formula() -> None:
    torch.manual_seed(0)
    norm = AdaRMSNorm(8, eps=1e-6)
    nn.init.normal_(norm.dense.weight)
    x, c = torch.randn(2, 5, 8, dtype=torch.float64), torch.randn(2, 8)
    y, gate = norm(x.float(), c)
    parts = (c @ norm.dense.weight.T + norm.dense.bias).double()
    scale, shift, expected_gate = parts[:, None, :8], parts[:, None, 8:16], parts[:, None, 16:]
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * (1 + scale) + shift
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gate.double(), expected_gate.expand(2, 1, 8), atol=1e-6, rtol=0)


def test_new_blocks_are_the_identity() -> None:
    model = Pi0FlowModel(small_pi05_config(width=32, depth=2, vision_depth=1))
    norms = [module for module in model.modules() if isinstance(module, AdaRMSNorm)]
    assert len(norms) == 5
    assert not any(parameter.any() for norm in norms for parameter in norm.parameters())
