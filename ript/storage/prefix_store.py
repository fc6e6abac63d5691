"""Prefixes of windows, kept for further passes over them."""

from collections.abc import Sequence

import torch

from ript.algos.losses.cfg_flow import encode_windows
from ript.algos.policies.pi0_oft_policy import EncodedObservation, PI0_OFT_Policy
from ript.models.pi0.modeling import Prefix
from ript.storage.windows import Window


class PrefixStore:
    """Encodes each window once and keeps the result on the policy's device, up to a bound.

    Exact, because it refuses a policy whose prefix is trained. Windows beyond the bound are encoded each time. A store
    serves one set of windows, which it tells apart by episode and start.

    Args:
        policy: one with a frozen prefix (`train_expert_only`, or adapters on the expert alone).
        max_gib: bound of the memory.

    Raises:
        ValueError: the policy's prefix is not frozen.
    """

    def __init__(self, policy: PI0_OFT_Policy, max_gib: float):
        if not policy.prefix_is_frozen:
            raise ValueError("a prefix that is trained cannot be reused")
        self.policy = policy
        self.bytes_left = int(max_gib * 2**30)
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
