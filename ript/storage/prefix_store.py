"""Prefixes of windows, kept for further passes over them."""

from collections.abc import Sequence

import torch

from ript.algos.policies.observations import EncodedObservation
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import in_range
from ript.env_runner.pi0_runner_utils import collate_observations
from ript.models.pi0.modeling import Prefix
from ript.storage.windows import Window


def encode_windows(policy: PI0_OFT_Policy, windows: Sequence[Window]) -> EncodedObservation:
    """The encoded observations of a batch of windows."""
    return policy.encode(collate_observations([window.observation for window in windows]))


class PrefixStore:
    """Encodes each window once per iteration and keeps the result on the policy's device, up to a bound.

    Exact, because it refuses a policy whose prefix is trained. Windows beyond the bound are encoded each time. A store
    serves one set of windows, which it tells apart by episode and start.

    Args:
        policy: one with a frozen prefix (`train_expert_only`, or adapters on the expert alone).
        reuse_prefix_gib: bound of the memory.

    Raises:
        ValueError: the policy's prefix is not frozen.
    """

    def __init__(self, policy: PI0_OFT_Policy, reuse_prefix_gib: float = 4.0):
        if not policy.prefix_is_frozen:
            raise ValueError("algo.reuse_prefix=true needs a frozen prefix: set algo.train_expert_only=true")
        in_range("reuse_prefix_gib", reuse_prefix_gib, 0)
        self.policy, self.max_bytes = policy, int(reuse_prefix_gib * 2**30)
        self.clear()

    def clear(self) -> None:
        """Forgets all windows."""
        self.bytes_left = self.max_bytes
        self._kept: dict[tuple[int, int], EncodedObservation] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def encode(self, windows: Sequence[Window]) -> EncodedObservation:
        """The same as encoding the windows afresh, up to the order of float sums."""
        missing = [window for window in windows if _key(window) not in self._kept]
        fresh = self._encode_fresh(missing) if missing else {}
        found = [fresh.get(_key(window)) or self._kept[_key(window)] for window in windows]
        prefix = Prefix.stack([encoded.prefix for encoded in found])
        return EncodedObservation(prefix, torch.cat([encoded.state for encoded in found]))

    def _encode_fresh(self, windows: Sequence[Window]) -> dict[tuple[int, int], EncodedObservation]:
        prefix, state = encode_windows(self.policy, windows)
        rows = zip(windows, prefix.rows(), state.split(1), strict=True)
        fresh = {_key(window): EncodedObservation(row, own_state) for window, row, own_state in rows}
        for key, encoded in fresh.items():
            if encoded.prefix.num_bytes <= self.bytes_left:
                self.bytes_left -= encoded.prefix.num_bytes
                self._kept[key] = EncodedObservation(encoded.prefix.clone(), encoded.state)
        return fresh


def _key(window: Window) -> tuple[int, int]:
    return window.episode_id, window.start
