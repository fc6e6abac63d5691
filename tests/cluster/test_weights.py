from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planar import write_tiny_policy

from ript.algos.policies.actor import Actor, Exploration, acting_with, sampler_of
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.cluster.stale_weights import read_stale_weights, write_stale_weights
from ript.cluster.weights import fingerprint, load_arrays, trainable_arrays
from ript.models.pi0.heads import HeadSettings


def copies(folder: Path, **options: Any) -> tuple[PI0_OFT_Policy, PI0_OFT_Policy]:
    path = str(write_tiny_policy(folder))
    return PI0_OFT_Policy(pretrained_path=path, **options), PI0_OFT_Policy(pretrained_path=path, **options)


def bytes_of(policy: PI0_OFT_Policy) -> list[bytes]:
    return [p.detach().numpy().tobytes() for group in policy.trainable_params.values() for p in group]


@torch.no_grad()
def change(policy: PI0_OFT_Policy) -> None:
    for group in policy.trainable_params.values():
        for parameter in group:
            parameter += torch.randn_like(parameter)


def test_another_copy_of_the_policy_gets_the_trainable_weights_and_they_change_no_fingerprint(tmp_path: Path) -> None:
    learner, worker = copies(tmp_path, train_expert_only=True)
    before = fingerprint(worker)
    change(learner)
    assert bytes_of(learner) != bytes_of(worker)
    load_arrays(worker, trainable_arrays(learner))
    assert bytes_of(learner) == bytes_of(worker)
    assert fingerprint(worker) == fingerprint(learner) == before


def test_a_frozen_weight_that_differs_changes_the_fingerprint(tmp_path: Path) -> None:
    policy, _ = copies(tmp_path, train_expert_only=True)
    before = fingerprint(policy)
    frozen = next(p for p in policy.model.parameters() if not p.requires_grad)
    with torch.no_grad():
        frozen.view(-1)[0] += 1
    assert fingerprint(policy) != before


def test_weights_of_another_policy_are_refused(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    weights = trainable_arrays(tiny_policy)
    with pytest.raises(ValueError, match="weights of the groups"):
        load_arrays(tiny_policy, {"model": weights["model"]})
    with pytest.raises(ValueError, match="do not fit"):
        load_arrays(tiny_policy, {**weights, "header": weights["header"][1:]})


@pytest.mark.parametrize("sampler", ["sde", "noise"])
def test_an_actor_elsewhere_has_the_same_sampler_on_its_own_weights(tmp_path: Path, sampler: str) -> None:
    here, there = copies(tmp_path, heads=HeadSettings(sampler=sampler))
    sent, policy = sampler_of(Actor(here, Exploration(sampler).at(0, here)))
    assert policy is here and getattr(sent, "log_std", None) is None
    actor = acting_with(there, sent)
    assert isinstance(actor, Actor) and actor.policy is there
    assert getattr(actor.sampler, "log_std", None) is (there.heads.log_std if sampler == "noise" else None)


def test_the_policy_itself_needs_no_sampler(tiny_policy: PI0_OFT_Policy) -> None:
    assert sampler_of(tiny_policy) == (None, tiny_policy) and acting_with(tiny_policy, None) is tiny_policy


def test_stale_weights_survive_the_disk_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    arrays = [np.full(shape, 0.1, np.float32) for shape in ((3,), (2, 2), (1,))]
    weights = {"model": arrays[:2], "value": arrays[2:]}
    path = tmp_path / "acting.safetensors"
    write_stale_weights(path, weights, 7)
    read, iteration = read_stale_weights(path)
    assert iteration == 7 and read.keys() == weights.keys()
    for group, arrays in weights.items():
        assert all(np.array_equal(a, b) for a, b in zip(arrays, read[group], strict=True))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=f"{path}: damaged weights"):
        read_stale_weights(path)


def test_stale_weights_fit_the_policy_that_they_were_written_of(tmp_path: Path) -> None:
    learner, worker = copies(tmp_path)
    change(learner)
    write_stale_weights(tmp_path / "acting.safetensors", trainable_arrays(learner), 1)
    load_arrays(worker, read_stale_weights(tmp_path / "acting.safetensors")[0])
    assert bytes_of(learner) == bytes_of(worker)
