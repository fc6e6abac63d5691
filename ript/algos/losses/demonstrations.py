"""The flow loss of demonstrations beside a loss of rollouts."""

from typing import NamedTuple

from torch import Tensor

from ript.algos.losses.cfg_flow import CFGFlowLoss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.storage.batch import Batch


class DemonstrationTerms(NamedTuple):
    """Per-window losses (B,), not yet averaged."""

    total: Tensor
    """What is minimised."""
    sft: Tensor
    """The same, to report."""


def demonstration_loss(policy: PI0_OFT_Policy, batch: Batch, seed: tuple[int, ...]) -> DemonstrationTerms:
    """The flow loss of the positive branch, at noise and time drawn from each window's own seed."""
    found = CFGFlowLoss()(policy, batch, seed).total  # the unconditional branch has weight 0 in demonstrations
    return DemonstrationTerms(found, found.detach())
