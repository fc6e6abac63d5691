import torch
from scipy.stats import beta, kstest

from ript.flow.path import path_sample, sample_time


def test_time_is_beta_distributed() -> None:
    times = sample_time(20_000, torch.Generator().manual_seed(0)).numpy()
    assert times.min() > 0 and times.max() <= 1
    assert kstest((times - 0.001) / 0.999, beta(1.5, 1.0).cdf).pvalue > 0.01


def test_the_path_ends_at_data_and_noise() -> None:
    actions, noise = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    x_t, u_t = path_sample(actions, noise, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(x_t[0], actions[0])
    torch.testing.assert_close(x_t[1], noise[1])
    torch.testing.assert_close(u_t, noise - actions)


def test_one_euler_step_along_the_target_velocity_reaches_the_data() -> None:
    actions, noise = torch.randn(3, 5, 7), torch.randn(3, 5, 7)
    x_t, u_t = path_sample(actions, noise, torch.tensor([0.2, 0.5, 0.9]))
    torch.testing.assert_close(x_t - torch.tensor([0.2, 0.5, 0.9])[:, None, None] * u_t, actions)
