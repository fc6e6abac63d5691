import math

import numpy as np
import pytest
import torch

from ript.algos.losses.value import explained_variance, value_loss

CASES = [
    # value, old value, return, loss with clip 0.2 and Huber δ 1, clipped
    (0.5, 0.4, 1.0, 0.125, 0),  # ½·0.5², inside the clip
    (0.9, 0.4, 1.0, 0.08, 1),  # clipped to 0.6: ½·0.4² is more than ½·0.1²
    (0.0, 0.9, 1.0, 0.5, 1),  # ½·1² is more than the clipped ½·0.3²
    (3.0, 2.9, 0.0, 2.5, 0),  # beyond δ: 1·(3 - ½)
]


def columns() -> list[torch.Tensor]:
    return list(torch.tensor(CASES).T)


def test_the_loss_by_hand() -> None:
    values, old, returns, expected, clipped = columns()
    loss = value_loss(values, old, returns, clip=0.2, huber_delta=1.0)
    torch.testing.assert_close(loss.total, expected)
    assert torch.equal(loss.is_clipped, clipped)
    assert loss.weight.tolist() == [1] * 4


def test_where_the_clipped_value_counts_there_is_no_gradient() -> None:
    values, old, returns, *_ = columns()
    values.requires_grad_()
    value_loss(values, old, returns, clip=0.2, huber_delta=1.0).total.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.5, 0.0, -1.0, 1.0]))


@pytest.mark.parametrize("garbage", [9.0, torch.inf, torch.nan])
def test_filtered_decisions_change_no_number(garbage: float) -> None:
    values, old, returns, expected, clipped = columns()
    is_kept = torch.tensor([True, False, True, False])
    values, old, returns = (torch.where(is_kept, part, garbage) for part in (values, old, returns))
    values.requires_grad_()
    loss = value_loss(values, old, returns, is_kept, clip=0.2, huber_delta=1.0)
    torch.testing.assert_close(loss.total, expected * is_kept)
    assert torch.equal(loss.is_clipped, clipped * is_kept)
    assert loss.weight.tolist() == [1, 0, 1, 0]
    loss.total.sum().backward()
    torch.testing.assert_close(values.grad, torch.tensor([-0.5, 0.0, -1.0, 0.0]))


def test_explained_variance_is_that_of_a_regression() -> None:
    rng = np.random.default_rng(0)
    returns = rng.normal(size=50)
    values = 0.5 * returns + rng.normal(size=50)
    expected = 1 - np.var(returns - values) / np.var(returns)
    assert explained_variance(torch.tensor(values), torch.tensor(returns)) == pytest.approx(expected)
    assert explained_variance(torch.tensor(returns), torch.tensor(returns)) == 1
    assert explained_variance(torch.zeros(50), torch.tensor(returns)) == pytest.approx(0)
    assert math.isnan(explained_variance(torch.randn(5), torch.ones(5)))
