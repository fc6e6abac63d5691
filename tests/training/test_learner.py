from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import torch

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.storage.batch import Batch
from ript.training.learner import Learner, NotFiniteGradient
from ript.training.schedule import Schedule
from ript.training.weight_average import WeightAverage

SEED = (0, 0, 0, 0)


def some_batch(policy: PI0_OFT_Policy) -> Batch:
    return Batch.of(jobs.make_optimizer().make_windows(policy, jobs.make_episodes()[:2], jobs.ADVANTAGES[:2]))


def averaging(policy: PI0_OFT_Policy, decay: float = 0.5) -> Learner:
    parameters = [p for group in policy.trainable_params.values() for p in group]
    return jobs.make_learner(policy, average=WeightAverage(parameters, decay, warm_up=False))


def weights(policy: PI0_OFT_Policy) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for group in policy.trainable_params.values() for p in group]).clone()


def test_a_term_of_weight_zero_is_no_term_and_others_add_up(tiny_policy: PI0_OFT_Policy) -> None:
    batch, loss = some_batch(tiny_policy), CFGFlowLoss()

    def gradient(terms: list[Any]) -> torch.Tensor:
        optimizers = {name: torch.optim.SGD(group, lr=0.0) for name, group in tiny_policy.trainable_params.items()}
        Learner(tiny_policy, optimizers, gradient_clip=1e9).step(terms, SEED)
        return torch.cat([p.grad.flatten() for group in tiny_policy.trainable_params.values() for p in group])

    def never(*_: Any) -> Any:
        raise AssertionError

    one = gradient([(loss, batch, 1.0)])
    assert torch.equal(gradient([(loss, batch, 1.0), (never, batch, 0.0)]), one)
    torch.testing.assert_close(gradient([(loss, batch, 0.25), (loss, batch, 0.5)]), 0.75 * one)


def test_both_parameter_groups_are_clipped_on_their_own(tiny_policy: PI0_OFT_Policy) -> None:
    optimizers = {name: torch.optim.SGD(group, lr=0.0) for name, group in tiny_policy.trainable_params.items()}
    learner = Learner(tiny_policy, optimizers, gradient_clip=1e-3)
    sums = learner.step([(CFGFlowLoss(), some_batch(tiny_policy), 1.0)], SEED)
    for name, group in tiny_policy.trainable_params.items():
        norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in group if p.grad is not None]))
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)
        assert sums[f"gradient_norm_{name}"] > 1e-3
        assert sums[f"gradient_kept_{name}"] == pytest.approx(1e-3 / sums[f"gradient_norm_{name}"])


def test_the_average_takes_in_every_gradient_step_and_acts(tiny_policy: PI0_OFT_Policy) -> None:
    learner = averaging(tiny_policy)
    expected = weights(tiny_policy)
    for step in range(2):
        learner.step([(CFGFlowLoss(), some_batch(tiny_policy), 1.0)], (0, 0, 0, step))
        expected = 0.5 * expected + 0.5 * weights(tiny_policy)
    raw = weights(tiny_policy)
    with learner.acting():
        torch.testing.assert_close(weights(tiny_policy), expected)
    assert torch.equal(weights(tiny_policy), raw) and not torch.allclose(raw, expected)


def trained(policy: PI0_OFT_Policy, learner: Learner, steps: range) -> torch.Tensor:
    for step in steps:
        learner.step([(CFGFlowLoss(), some_batch(policy), 1.0)], (0, 0, 0, step))
        learner.end_iteration()
    return weights(policy)


def test_a_restored_learner_goes_on_byte_for_byte(tiny_policy_folder: Path, tmp_path: Path) -> None:
    whole = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    expected = trained(whole, averaging(whole), range(4))
    policy = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    learner = averaging(policy)
    trained(policy, learner, range(2))
    with learner.acting():
        torch.save(learner.state_dict(), tmp_path / "state.pt")
        policy.save(tmp_path / "policy")
    again = PI0_OFT_Policy(pretrained_path=str(tmp_path / "policy"))
    restored = averaging(again)
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(trained(again, restored, range(2, 4)), expected)


def test_rates_are_the_configurations_not_the_checkpoints(tiny_policy: PI0_OFT_Policy) -> None:
    def learner(rate: float, decay: float) -> Learner:
        optimizers = {n: torch.optim.AdamW(g, weight_decay=decay) for n, g in tiny_policy.trainable_params.items()}
        return Learner(tiny_policy, optimizers, schedule=Schedule({"model": rate, "header": rate}, n_steps=9))

    first, second = learner(1e-3, 0.1), learner(1e-5, 0.2)
    first.step([(CFGFlowLoss(), some_batch(tiny_policy), 1.0)], SEED)
    second.load_state_dict(first.state_dict())
    for optimizer in second.optimizers.values():
        assert optimizer.param_groups[0]["lr"] == 1e-5 and optimizer.param_groups[0]["weight_decay"] == 0.2
        assert optimizer.state_dict()["state"]
    assert second.end_iteration() == {"lr/model": 1e-5, "lr/header": 1e-5}


def test_an_average_that_is_new_starts_from_the_weights_and_one_that_ends_leaves_the_trained_ones(
    tiny_policy: PI0_OFT_Policy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    plain, averaged = jobs.make_learner(tiny_policy), averaging(tiny_policy)
    averaged.load_state_dict(plain.state_dict())
    assert averaged.average is not None and torch.equal(averaged.average.average[0], averaged.average.parameters[0])
    trained(tiny_policy, averaged, range(1))
    state, raw = averaged.state_dict(), weights(tiny_policy)
    with averaged.acting():  # as the policy's folder holds it
        acting = weights(tiny_policy)
        plain.load_state_dict(state)
        assert torch.equal(weights(tiny_policy), raw) and not torch.equal(raw, acting)
    assert "ema_decay is new" in caplog.text and "ema_decay is off" in caplog.text


def test_other_trainable_parameters_are_refused_by_group(tiny_policy_folder: Path) -> None:
    everything = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder))
    part = PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), train_expert_only=True)
    with pytest.raises(ValueError, match="other parameters in the group model"):
        jobs.make_learner(part).load_state_dict(jobs.make_learner(everything).state_dict())


def test_the_sums_of_losses_do_not_count_what_a_branch_did_not_learn(tiny_policy: PI0_OFT_Policy) -> None:
    batch = replace(some_batch(tiny_policy), weight=np.array([1.0, 0.0, 1.0]))
    sums: dict[str, float] = defaultdict(float)
    jobs.make_learner(tiny_policy).accumulate(CFGFlowLoss(), batch, 1.0, SEED, sums)
    assert (sums["positive_count"], sums["unconditional_count"], sums["total_count"]) == (2, 3, 3)


def spoiled(policy: PI0_OFT_Policy, batch: Batch, seed: Any) -> Any:
    """A loss whose gradient is NaN, though it is finite itself."""
    terms = CFGFlowLoss()(policy, batch, seed)
    return terms._replace(total=terms.total + torch.sqrt(terms.total * 0))


def state_of(learner: Learner) -> list[torch.Tensor]:
    moments = [value for o in learner.optimizers.values() for s in o.state.values() for value in s.values()]
    assert learner.average is not None
    return [weights(learner.policy), *learner.average.average, *[m.clone() for m in moments]]


def test_a_gradient_that_is_not_finite_changes_nothing(tiny_policy: PI0_OFT_Policy) -> None:
    batch, learner = some_batch(tiny_policy), averaging(tiny_policy)
    learner.step([(CFGFlowLoss(), batch, 1.0)], SEED)
    before = [tensor.clone() for tensor in state_of(learner)]
    assert learner.step([(CFGFlowLoss(), batch, 1.0), (spoiled, batch, 1.0)], SEED) == {"skipped": 1.0}
    assert all(torch.equal(a, b) for a, b in zip(before, state_of(learner), strict=True))
    assert "gradient_norm_model" in learner.step([(CFGFlowLoss(), batch, 1.0)], SEED)
    assert not torch.equal(before[0], weights(tiny_policy))


def test_the_fourth_such_gradient_in_a_row_ends_it_with_its_windows(tiny_policy: PI0_OFT_Policy) -> None:
    batch, learner = some_batch(tiny_policy), averaging(tiny_policy)
    good, bad = [(CFGFlowLoss(), batch, 1.0)], [(spoiled, batch, 1.0)]
    for terms in (bad, bad, bad, good, bad, bad):
        learner.step(terms, SEED)
    again = averaging(tiny_policy)
    again.load_state_dict(learner.state_dict())  # what was skipped counts over a resumption
    again.step(bad, SEED)
    with pytest.raises(NotFiniteGradient, match="not finite in 4 steps in a row") as caught:
        again.step(bad, SEED)
    assert list(caught.value.windows) == list(batch.windows)
