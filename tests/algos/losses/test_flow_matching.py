import torch

from ript.algos.losses.flow_matching import masked_flow_loss


def test_padding_counts_neither_in_the_loss_nor_in_its_denominator() -> None:
    velocity, u_t = torch.randn(2, 3, 10, 32), torch.randn(3, 10, 32)
    is_pad = torch.arange(10) >= torch.tensor([10, 4, 1])[:, None]
    loss = masked_flow_loss(velocity, u_t, is_pad, 7)
    for row, valid in enumerate((10, 4, 1)):
        expected = (velocity - u_t)[:, row, :valid, :7].square().mean(dim=(1, 2))
        torch.testing.assert_close(loss[:, row], expected)
    garbage = torch.where(is_pad[..., None], 1e9, velocity)
    torch.testing.assert_close(masked_flow_loss(garbage, u_t, is_pad, 7), loss)


def test_a_window_of_padding_alone_has_no_loss() -> None:
    assert float(masked_flow_loss(torch.ones(1, 5, 7), torch.zeros(1, 5, 7), torch.ones(1, 5).bool(), 7)) == 0
