import pytest
import torch

from ript.algos.losses.flow_matching import masked_flow_loss
from ript.algos.losses.nft import nft_loss

IS_PAD = torch.arange(10) >= torch.tensor([10, 4, 1])[:, None]


def points() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(torch.randn(3, 3, 10, 32, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_the_loss_is_its_formula(beta: float) -> None:
    velocity, old, u_t = points()
    advantages, goodness = torch.tensor([0.2, -2.0, 3.0]), (0.7, 0.0, 1.0)
    loss = nft_loss(velocity, old, u_t, IS_PAD, advantages, 7, beta=beta)
    for row, valid in enumerate((10, 4, 1)):
        v, o, u = (part[row, :valid, :7].double() for part in (velocity, old, u_t))
        positive = float(((u - (1 - beta) * o - beta * v) ** 2).mean())
        negative = float(((u - (1 + beta) * o + beta * v) ** 2).mean())
        assert float(loss.positive[row]) == pytest.approx(positive, rel=1e-5)
        assert float(loss.negative[row]) == pytest.approx(negative, rel=1e-5)
        expected = goodness[row] * positive + (1 - goodness[row]) * negative
        assert float(loss.total[row]) == pytest.approx(expected, rel=1e-5)


def test_the_best_windows_are_imitated() -> None:
    velocity, old, u_t = points()
    loss = nft_loss(velocity, old, u_t, IS_PAD, torch.ones(3), 7)
    torch.testing.assert_close(loss.total, masked_flow_loss(velocity, u_t, IS_PAD, 7))


def test_at_the_old_policy_the_gradient_is_the_advantage_times_that_of_imitation() -> None:
    """d/dv of r·E⁺ + (1 - r)·E⁻ at v = v_old is (2r - 1)·dE/dv, and 2r - 1 = 2A while |A| ≤ ½."""
    _, old, u_t = points()
    advantages = torch.tensor([0.2, -0.4, 0.0])
    gradients = []
    for loss_of in (
        lambda v: nft_loss(v, old, u_t, IS_PAD, advantages, 7).total,
        lambda v: 2 * advantages * masked_flow_loss(v, u_t, IS_PAD, 7),
    ):
        velocity = old.clone().requires_grad_()
        loss_of(velocity).sum().backward()
        gradients.append(velocity.grad)
    torch.testing.assert_close(*gradients)


def test_padding_changes_no_number_and_the_old_policy_gets_no_gradient() -> None:
    velocity, old, u_t = points()
    garbage = torch.where(IS_PAD[..., None], 1e6, velocity)
    old.requires_grad_()
    advantages = torch.tensor([0.2, -2.0, 3.0])
    losses = [nft_loss(v, old, u_t, IS_PAD, advantages, 7) for v in (velocity, garbage)]
    assert all(torch.equal(*pair) for pair in zip(*losses, strict=True))
    assert not losses[0].total.requires_grad
