from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import jobs
import numpy as np
import pytest
import torch

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.storage.batch import Batch
from ript.storage.prefix_store import PrefixStore, encode_windows
from ript.storage.windows import Window


@pytest.fixture
def frozen_policy(tiny_policy_folder: Path) -> PI0_OFT_Policy:
    return PI0_OFT_Policy(pretrained_path=str(tiny_policy_folder), train_expert_only=True)


@pytest.fixture
def windows(frozen_policy: PI0_OFT_Policy) -> list[Window]:
    """Nine windows with prompts of two lengths."""
    made = jobs.make_optimizer().make_windows(frozen_policy, jobs.make_episodes(), jobs.ADVANTAGES)
    longer = {"prompt": "pick up the black bowl and place it on the plate"}
    return [replace(w, observation={**w.observation, **longer}) if i % 2 else w for i, w in enumerate(made)]


def gradients(policy: PI0_OFT_Policy, windows: list[Window], store: PrefixStore | None) -> torch.Tensor:
    loss = CFGFlowLoss() if store is None else partial(CFGFlowLoss(), encode=store.encode)
    batch = Batch.of(windows, np.array([float(w.advantage > 0) for w in windows]))
    policy.model.zero_grad()
    learner = jobs.make_learner(policy, optimizer_batch_size=4)
    learner.accumulate(loss, batch, 1.0, (0, 0, 0, 0), defaultdict(float))
    return torch.cat([p.grad.flatten() for group in policy.trainable_params.values() for p in group])


@pytest.mark.parametrize("max_gib", [1.0, 0.0])
def test_a_reused_prefix_gives_the_gradient_of_a_fresh_one(
    frozen_policy: PI0_OFT_Policy, windows: list[Window], max_gib: float
) -> None:
    store = PrefixStore(frozen_policy, max_gib)
    fresh = gradients(frozen_policy, windows, None)
    for _ in range(2):  # the second pass finds the prefixes that the first one kept
        torch.testing.assert_close(gradients(frozen_policy, windows, store), fresh, atol=1e-6, rtol=1e-4)


def test_each_window_is_encoded_once(
    frozen_policy: PI0_OFT_Policy, windows: list[Window], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PrefixStore(frozen_policy, 1.0)
    store.encode(windows[:5])
    assert len(store) == 5
    store.encode(windows)
    monkeypatch.setattr(frozen_policy, "encode", None)
    store.encode(windows[::-1])


def test_memory_stays_within_the_bound(frozen_policy: PI0_OFT_Policy, windows: list[Window]) -> None:
    one = encode_windows(frozen_policy, windows[:1]).prefix.num_bytes
    store = PrefixStore(frozen_policy, 3.5 * one / 2**30)
    store.encode(windows[::2])  # prompts of one length
    assert len(store) == 3


def test_a_prefix_that_is_trained_is_refused(tiny_policy: PI0_OFT_Policy) -> None:
    with pytest.raises(ValueError, match="frozen prefix"):
        PrefixStore(tiny_policy, 1.0)
