from dataclasses import replace

import jobs
import numpy as np
import pytest
import torch

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.sft_optimizer_pi0 import SFTOptimizerPI0
from ript.storage.augment import Augmentation
from ript.storage.batch import Batch
from ript.storage.windows import Window


def demonstrated(policy: PI0_OFT_Policy) -> list[Window]:
    """Windows whose actions are all alike: easily imitated."""
    windows = jobs.make_optimizer().make_windows(policy, jobs.make_episodes(), jobs.ADVANTAGES)
    return [
        replace(w, actions=np.where(w.action_is_pad[:, None], 0, 0.7).astype(np.float32) * np.ones(7, np.float32))
        for w in windows
    ]


def branch_losses(policy: PI0_OFT_Policy, windows: list[Window]) -> tuple[float, float]:
    with torch.no_grad():
        loss = CFGFlowLoss()(policy, Batch.of(windows), (9, 9))
    return float(loss.positive.mean()), float(loss.unconditional.mean())


def test_both_classes_of_the_condition_learn_the_demonstrations(tiny_policy: PI0_OFT_Policy) -> None:
    windows = demonstrated(tiny_policy)
    before = branch_losses(tiny_policy, windows)
    optimizer = SFTOptimizerPI0(Augmentation(1, 0.2))
    optimizers = {name: torch.optim.AdamW(group, lr=2e-3) for name, group in tiny_policy.trainable_params.items()}
    for _ in range(80):
        metrics = optimizer.optimize(tiny_policy, windows, optimizers)
    after = branch_losses(tiny_policy, windows)
    assert max(after) < 0.5 * min(before)
    assert metrics["num_windows"] == len(windows)
    assert {"fm_loss", "fm_loss_pos", "fm_loss_uncond", "gradient_norm_model"} <= metrics.keys()
    assert metrics["label_rms"] == pytest.approx(0.7) and metrics["label_out_of_range"] == 0


def test_the_same_step_twice_is_the_same(tiny_policy: PI0_OFT_Policy) -> None:
    windows = demonstrated(tiny_policy)
    metrics = []
    for _ in range(2):
        optimizers = {name: torch.optim.SGD(group, lr=0.0) for name, group in tiny_policy.trainable_params.items()}
        metrics.append(SFTOptimizerPI0(seed=3).optimize(tiny_policy, windows, optimizers))
    assert metrics[0]["fm_loss"] == metrics[1]["fm_loss"]
