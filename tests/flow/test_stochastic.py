"""Samplers with Gaussian steps: their formulas, their counted randomness, and scores that repeat exactly."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from golden_folders import golden_architecture, golden_io, golden_prefix
from scipy.stats import kstest, norm
from torch import Generator, Tensor

from ript.flow.gaussian_steps import GaussianSteps
from ript.flow.samplers import Flow, Ode
from ript.flow.stochastic import Cps, Noise, Sde, annealed_noise_level
from ript.models.pi0.guidance import branch_flow
from ript.models.pi0.modeling import Pi0FlowModel

STEPS, ACTIONS, WIDTH = 4, 3, 5
"""Denoising steps, scored dimensions and all dimensions of the samples here."""


def log_std(hidden: Tensor) -> Tensor:
    return -2 + 0.3 * hidden.sin()


def curved(x: Tensor, time: Tensor) -> Flow:
    """A velocity that depends on everything, row by row."""
    return Flow((x + time[:, None, None]).sin() + 0.5 * x, x * time[:, None, None])


def sampler(kind: str, **options: Any) -> GaussianSteps:
    arguments: dict[str, Any] = {"action_dim": ACTIONS, "num_steps": STEPS} | options
    if kind == "noise":
        return Noise(log_std=log_std, **{"joint_logprob": False} | arguments)
    return {"sde": Sde, "cps": Cps}[kind](**arguments)


def generators(count: int, first: int = 0) -> list[Generator]:
    return [Generator().manual_seed(first + row) for row in range(count)]


def noise(rows: int = 6) -> Tensor:
    return torch.randn(rows, 2, WIDTH, generator=Generator().manual_seed(99))


def expected_step(kind: str, x: np.ndarray, t: float, steps: int, level: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation as the papers write them, in float64."""
    delta = 1 / steps
    velocity, hidden = (part.numpy() for part in curved(torch.from_numpy(x)[None], torch.tensor([t])))
    v, x0, x1 = velocity[0], x - t * velocity[0], x + (1 - t) * velocity[0]
    if kind == "noise":
        return x - delta * v, np.exp(-2 + 0.3 * np.sin(hidden[0]))
    if kind == "cps":
        std = (t - delta) * math.sin(math.pi * level / 2)
        return x0 * (1 - (t - delta)) + x1 * (t - delta) * math.cos(math.pi * level / 2), np.full_like(x, std)
    sigma = level * math.sqrt(t / (1 - (t if t < 1 else 1 - delta)))
    mean = x0 * (1 - (t - delta)) + x1 * (t - delta - sigma**2 * delta / (2 * t))
    return mean, np.full_like(x, math.sqrt(delta) * sigma)


KINDS = ("sde", "noise", "cps")
everywhere = pytest.mark.parametrize("kind", KINDS)


def test_sde_has_the_published_check_values() -> None:
    sde = Sde(action_dim=1, num_steps=4, noise_level=0.5)
    np.testing.assert_allclose([sde.sigma(step) for step in range(4)], [1.0, 0.866, 0.5, 0.289], atol=5e-4)
    np.testing.assert_allclose([sde.coefficients(step)[2] for step in range(4)], [0.5, 0.433, 0.25, 0.144], atol=5e-4)
    assert sde.coefficients(0)[1] == pytest.approx(0.625)


def test_cps_keeps_the_amount_of_noise_that_the_flow_has_left() -> None:
    cps = Cps(action_dim=1, num_steps=5, noise_level=0.7)
    for step in range(5):
        of_data, of_noise, std = cps.coefficients(step)
        assert math.hypot(of_noise, std) == pytest.approx(1 - (step + 1) / 5)
        assert of_data == pytest.approx((step + 1) / 5)


@everywhere
def test_one_random_step_moves_and_scores_as_its_formula_says(kind: str) -> None:
    _, chain = sampler(kind).sample(curved, noise(), generators(6))
    _, entropy = sampler(kind).log_prob(curved, chain)
    for row, step in enumerate(chain.step.tolist()):
        before, after = chain.x[row, step].double().numpy(), chain.x[row, step + 1].double().numpy()
        mean, std = expected_step(kind, before, 1 - step / STEPS, STEPS)
        np.testing.assert_allclose(chain.log_prob[row], norm(mean, std).logpdf(after)[:, :ACTIONS], atol=2e-4)
        np.testing.assert_allclose(entropy[row], norm(mean, std).entropy()[:, :ACTIONS], atol=1e-5)
        draws = Generator().manual_seed(row)
        assert step == int(torch.randint(STEPS - (kind == "cps"), (), generator=draws))
        np.testing.assert_allclose(after, mean + std * torch.randn(1, 2, WIDTH, generator=draws)[0].numpy(), atol=1e-5)


@everywhere
def test_all_steps_random_score_the_mean_over_steps_and_initial_noise(kind: str) -> None:
    _, chain = sampler(kind, joint_logprob=True).sample(curved, noise(), generators(6))
    assert chain.step.tolist() == [-1] * 6
    _, entropy = sampler(kind, joint_logprob=True).log_prob(curved, chain)
    for row in range(6):
        x = chain.x[row].double().numpy()
        terms, entropies = [norm().logpdf(x[0])], [np.full_like(x[0], norm().entropy())]
        for step in range(STEPS - (kind == "cps")):
            normal = norm(*expected_step(kind, x[step], 1 - step / STEPS, STEPS))
            terms.append(normal.logpdf(x[step + 1]))
            entropies.append(normal.entropy())
        np.testing.assert_allclose(chain.log_prob[row], np.mean(terms, axis=0)[:, :ACTIONS], atol=2e-4)
        np.testing.assert_allclose(entropy[row], np.mean(entropies, axis=0)[:, :ACTIONS], atol=1e-5)


@everywhere
@pytest.mark.parametrize("joint", [False, True])
def test_scoring_the_same_network_again_gives_a_ratio_of_exactly_1(kind: str, joint: bool) -> None:
    torch.manual_seed(0)
    model, io = Pi0FlowModel(golden_architecture("pi0")), golden_io("pi0")
    head = torch.nn.Linear(model.expert_hidden_size, io["noise"].shape[-1])
    options: dict[str, Any] = {"log_std": head} if kind == "noise" else {}
    acting = {"sde": Sde, "noise": Noise, "cps": Cps}[kind](
        action_dim=7, num_steps=STEPS, joint_logprob=joint, **options
    )
    flow = branch_flow(model, golden_prefix(model, io), io["state"])
    actions, chain = acting.sample(flow, io["noise"], generators(3))
    log_prob, _ = acting.log_prob(flow, chain)
    assert torch.equal(actions, chain.x[:, -1])
    assert torch.equal((log_prob - chain.log_prob).exp(), torch.ones_like(log_prob))
    log_prob.sum().backward()
    assert model.action_out_proj.weight.grad.abs().max() > 0
    assert kind != "noise" or head.weight.grad.abs().max() > 0


@everywhere
def test_apart_from_its_random_step_a_row_takes_euler_steps(kind: str) -> None:
    _, chain = sampler(kind).sample(curved, noise(), generators(6))
    for row, step in enumerate(chain.step.tolist()):
        for number in {*range(STEPS)} - {step}:
            x = chain.x[row : row + 1, number]
            velocity = curved(x, torch.tensor([1 - number / STEPS])).velocity
            assert torch.equal(chain.x[row, number + 1], (x - velocity / STEPS)[0])
        euler, _ = Ode(STEPS).sample(curved, noise())
        assert not torch.equal(chain.x[row, -1], euler[row])


@everywhere
@pytest.mark.parametrize("joint", [False, True])
def test_a_rows_randomness_does_not_depend_on_its_neighbours(kind: str, joint: bool) -> None:
    acting = sampler(kind, joint_logprob=joint)
    _, together = acting.sample(curved, noise(), generators(6))
    _, alone = acting.sample(curved, noise()[4:], generators(2, first=4))
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours[4:], theirs)


@everywhere
def test_the_random_step_is_any_but_a_noiseless_one(kind: str) -> None:
    for ignore_last in (False, True) if kind != "cps" else (True,):
        acting = sampler(kind, ignore_last=ignore_last)
        _, chain = acting.sample(curved, torch.randn(300, 1, WIDTH), generators(300))
        counts = np.bincount(chain.step.numpy(), minlength=STEPS)
        possible = STEPS - ignore_last
        assert counts[possible:].sum() == 0
        assert counts[:possible].min() > 300 / possible / 2


@everywhere
def test_the_last_step_is_an_euler_step_when_it_is_ignored(kind: str) -> None:
    _, chain = sampler(kind, joint_logprob=True, ignore_last=True).sample(curved, noise(), generators(6))
    velocity = curved(chain.x[:, -2], torch.full((6,), 1 / STEPS)).velocity
    assert torch.equal(chain.x[:, -1], chain.x[:, -2] - velocity / STEPS)


def test_sde_has_the_marginals_of_the_ode() -> None:
    """Data N(2, 0.3²): x_t is Gaussian at every time, and its velocity E[ε - a | x_t] is linear in x_t."""
    centre, spread, steps, rows = 2.0, 0.3, 200, 8000

    def marginal(t: float) -> tuple[float, float]:
        return (1 - t) * centre, math.hypot(t, (1 - t) * spread)

    def flow(x: Tensor, time: Tensor) -> Flow:
        t = float(time[0])
        mean, std = marginal(t)
        return Flow(-centre + (t - (1 - t) * spread**2) / std**2 * (x - mean))

    start = torch.randn(1, rows, 1, generator=Generator().manual_seed(0))
    acting = Sde(action_dim=1, num_steps=steps, noise_level=0.5, joint_logprob=True)
    actions, chain = acting.sample(flow, start, generators(1))
    straight, _ = Ode(steps).sample(flow, start)
    for step in (20, 100, 160, 200):
        assert (
            kstest(chain.x[0, step, :, 0].numpy(), norm(*marginal(1 - step / steps)).cdf, method="asymp").pvalue > 0.01
        )
    assert kstest(straight[0, :, 0].numpy(), norm(centre, spread).cdf, method="asymp").pvalue > 0.01
    assert abs(np.corrcoef(actions[0, :, 0], straight[0, :, 0])[0, 1]) < 0.9  # another way to the same distribution


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sde(action_dim=7, noise_level=0), "noise_level=0 is not valid"),
        (lambda: Cps(action_dim=7, noise_level=1.5), "noise_level=1.5 is not valid: must be a number from 0 to 1"),
        (lambda: Cps(action_dim=7, ignore_last=False), "ignore_last=False is not valid with cps"),
        (lambda: Sde(action_dim=7, num_steps=1, ignore_last=True), "num_steps=1 is not valid"),
        (lambda: sampler("sde").sample(curved, noise(), generators(5)), "6 rows need a generator each, got 5"),
        (lambda: sampler("noise").sample(lambda x, t: Flow(x), noise(), generators(6)), "this flow has none"),
    ],
)
def test_what_cannot_work_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_chain_of_another_sampler_is_refused() -> None:
    _, chain = sampler("sde").sample(curved, noise(), generators(6))
    with pytest.raises(ValueError, match="the chain has 4 denoising steps, the sampler 5"):
        sampler("sde", num_steps=5).log_prob(curved, chain)
    with pytest.raises(ValueError, match="not sampled with joint_logprob=True"):
        sampler("sde", joint_logprob=True).log_prob(curved, chain)


def test_the_noise_level_falls_in_a_line_and_stays() -> None:
    levels = [annealed_noise_level(iteration, 0.7, 0.3, 400) for iteration in (0, 100, 400, 1000)]
    assert levels == pytest.approx([0.7, 0.6, 0.3, 0.3])
