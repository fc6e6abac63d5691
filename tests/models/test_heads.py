"""Value head and log-std head: shapes, start values, and what they look at."""

import math

import pytest
import torch
from torch import nn

from ript.models.pi0.heads import LogStdHead, ValueHead


def widths(head: ValueHead | LogStdHead) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in head.mlp if isinstance(layer, nn.Linear)]


def test_the_value_head_is_an_mlp_that_starts_near_0() -> None:
    torch.manual_seed(0)
    head = ValueHead(1024)
    assert widths(head) == [(1024, 512), (512, 256), (256, 128), (128, 1)]
    assert [type(layer) for layer in head.mlp[1::2]] == [nn.ReLU] * 3
    assert float(head.mlp[-1].weight.detach().std()) == pytest.approx(0.02, rel=0.2)
    assert not head.mlp[-1].bias.any()
    values = head(torch.randn(200, 5, 1024))
    assert values.shape == (200,)
    assert values.abs().max() < 0.1


def test_the_value_is_that_of_the_mean_of_the_real_tokens() -> None:
    head, tokens = ValueHead(6), torch.randn(2, 4, 6)
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    garbage = torch.where(mask[..., None] > 0, tokens, 1e6)
    expected = head.mlp(torch.stack([tokens[0, :3].mean(dim=0), tokens[1, 0]]))[:, 0]
    torch.testing.assert_close(head(garbage, mask), expected)
    torch.testing.assert_close(head(tokens), head(tokens, torch.ones(2, 4)))


def test_the_noise_starts_in_the_middle_of_its_range() -> None:
    head = LogStdHead(1024)
    assert widths(head) == [(1024, 128), (128, 64), (64, 32), (32, 32)]
    assert [type(layer) for layer in head.mlp[1::2]] == [nn.Tanh] * 3
    log_std = head(torch.randn(3, 50, 1024))
    assert log_std.shape == (3, 50, 32)
    torch.testing.assert_close(log_std.exp(), torch.full_like(log_std, math.sqrt(0.08 * 0.16)))


@pytest.mark.parametrize(("bias", "std"), [(-20.0, 0.08), (20.0, 0.16)])
def test_the_noise_stays_within_its_range(bias: float, std: float) -> None:
    head = LogStdHead(6)
    nn.init.constant_(head.mlp[-1].bias, bias)
    torch.testing.assert_close(head(torch.randn(1, 2, 6)).exp(), torch.full((1, 2, 32), std))


def test_the_noise_is_the_published_formula() -> None:
    torch.manual_seed(0)
    head, tokens = LogStdHead(6, (0.05, 0.3)), torch.randn(2, 3, 6)
    nn.init.normal_(head.mlp[-1].weight)
    low, high = math.log(0.05**2), math.log(0.3**2)
    expected = torch.exp(0.5 * (low + (high - low) * (head.mlp(tokens).tanh() + 1) / 2))
    torch.testing.assert_close(head(tokens).exp(), expected)


def test_every_parameter_of_the_noise_learns_after_a_first_step() -> None:
    torch.manual_seed(0)
    head = LogStdHead(6)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (head(torch.randn(2, 3, 6)) * torch.randn(2, 3, 32)).sum().backward()
        optimizer.step()
    assert all(parameter.grad.abs().max() > 0 for parameter in head.parameters())


@pytest.mark.parametrize("bounds", [(0.0, 0.1), (0.2, 0.1)])
def test_a_range_that_is_none_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="noise_logvar_range="):
        LogStdHead(6, bounds)
