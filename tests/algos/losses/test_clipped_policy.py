"""The clipped policy gradient against its definition, one decision and one element at a time."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ript.algos.losses.clipped_policy import clipped_policy_loss, masked_mean

RATIOS = ("chunk", "chunk_mean", "token")
EXECUTED = (4, 1, 3, 0, 2)
"""Executed steps of the five decisions here, of 4; the last decision is filtered."""
KEPT = torch.tensor([True, True, True, True, False])
IS_PAD = torch.arange(4) >= torch.tensor(EXECUTED)[:, None]


def batch() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    old = torch.randn(5, 4, 3, generator=generator)
    new = old + 0.3 * torch.randn(5, 4, 3, generator=generator)
    advantages = torch.tensor([1.0, -2.0, 0.5, 1.0, -1.0])
    return {"log_prob": new, "old_log_prob": old, "advantages": advantages, "is_pad": IS_PAD, "is_kept": KEPT}


def by_definition(part: dict[str, Any], row: int, ratio: str, low: float, high: float) -> tuple[float, float, float]:
    """Loss, approximate KL and clip fraction of one decision."""
    logs = [
        float(part["log_prob"][row, step, dim] - part["old_log_prob"][row, step, dim])
        for step in range(EXECUTED[row])
        for dim in range(3)
    ]
    logs = logs if ratio == "token" else [sum(logs) / (len(logs) if ratio == "chunk_mean" else 1)]
    advantage, ratios = float(part["advantages"][row]), [math.exp(log) for log in logs]
    losses = [max(-advantage * rho, -advantage * min(max(rho, 1 - low), 1 + high)) for rho in ratios]
    kls = [rho - 1 - log for rho, log in zip(ratios, logs, strict=True)]
    return (
        float(np.mean(losses)),
        float(np.mean(kls)),
        float(np.mean([not 1 - low <= rho <= 1 + high for rho in ratios])),
    )


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_loss_is_its_formula(ratio: Any) -> None:
    part = batch()
    loss = clipped_policy_loss(**part, ratio=ratio, clip_low=0.1, clip_high=0.3)
    assert loss.weight.tolist() == [1, 1, 1, 0, 0]
    for row in range(3):
        expected = by_definition(part, row, ratio, 0.1, 0.3)
        got = [float(values[row]) for values in (loss.total, loss.approx_kl, loss.clip_fraction)]
        assert got == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for values in loss[:3]:
        assert values[3:].tolist() == [0, 0]


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_first_pass_has_a_ratio_of_exactly_1(ratio: Any) -> None:
    part = batch()
    loss = clipped_policy_loss(**part | {"log_prob": part["old_log_prob"]}, ratio=ratio)
    assert torch.equal(loss.total[:3], -part["advantages"][:3])
    assert not loss.approx_kl.any() and not loss.clip_fraction.any()


def gradient(part: dict[str, Any], ratio: Any) -> Tensor:
    log_prob = part["log_prob"].clone().requires_grad_()
    clipped_policy_loss(**part | {"log_prob": log_prob}, ratio=ratio).total.sum().backward()
    assert log_prob.grad is not None
    return log_prob.grad


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("garbage", [7.0, 1e9, -torch.inf, torch.nan])
def test_padded_and_filtered_elements_change_no_number(ratio: Any, garbage: float) -> None:
    part = batch()
    counts = (~IS_PAD & KEPT[:, None])[..., None]
    changed = part | {
        "log_prob": torch.where(counts, part["log_prob"], garbage),
        "advantages": torch.where(counts.any(dim=1)[:, 0], part["advantages"], garbage),
    }
    before, after = (clipped_policy_loss(**each, ratio=ratio) for each in (part, changed))
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert torch.equal(gradient(part, ratio), gradient(changed, ratio))
    assert not gradient(changed, ratio)[~counts.expand(5, 4, 3)].any()


@pytest.mark.parametrize("ratio", RATIOS)
def test_without_what_does_not_count_the_means_are_the_same(ratio: Any) -> None:
    part = batch()
    whole = clipped_policy_loss(**part, ratio=ratio)
    counted = clipped_policy_loss(**{name: tensor[:3] for name, tensor in part.items()}, ratio=ratio)
    for ours, theirs in zip(whole[:3], counted[:3], strict=True):
        torch.testing.assert_close(ours.sum() / whole.weight.sum(), theirs.mean())


@pytest.mark.parametrize(("advantage", "log_ratio"), [(1.0, 0.5), (-1.0, -0.5)])
def test_beyond_the_clip_a_gain_has_no_gradient_but_a_loss_has(advantage: float, log_ratio: float) -> None:
    part = {"old_log_prob": torch.zeros(1, 1, 1), "is_pad": torch.zeros(1, 1, dtype=torch.bool)}
    part["log_prob"] = torch.full((1, 1, 1), log_ratio)
    assert float(gradient(part | {"advantages": torch.tensor([advantage])}, "chunk")) == 0
    expected = advantage * math.exp(log_ratio)
    assert float(gradient(part | {"advantages": torch.tensor([-advantage])}, "chunk")) == pytest.approx(expected)


def test_a_ratio_that_exp_cannot_represent_is_clipped_like_any_other() -> None:
    part = {"log_prob": torch.full((1, 50, 7), 1.0), "old_log_prob": torch.zeros(1, 50, 7)}
    part["is_pad"] = torch.zeros(1, 50, dtype=torch.bool)
    for advantage in (1.0, 0.0):
        part["advantages"] = torch.tensor([advantage])
        assert float(clipped_policy_loss(**part).total) == pytest.approx(-1.2 * advantage)
        assert not gradient(part, "chunk").any()


def test_a_masked_mean_divides_by_what_is_there() -> None:
    elements = torch.arange(40.0).reshape(5, 4, 2)
    means = masked_mean(elements, ~IS_PAD[..., None])
    expected = [float(elements[row, :count].mean()) if count else 0.0 for row, count in enumerate(EXECUTED)]
    assert means.tolist() == pytest.approx(expected)


def test_an_unknown_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ratio='tokens' is not valid; did you mean token\?"):
        clipped_policy_loss(**batch(), ratio="tokens")  # type: ignore[arg-type]
