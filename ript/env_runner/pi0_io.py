"""What π0 takes and gives, whatever the simulator: batches of observations, and normalised actions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ript.models.pi0.norm_stats import NormStats


def collate_observations(observations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Single observations → one batch: images (B, H, W, 3), state (B, S), B prompts.

    Images of a camera that differ in size stay a list of B images (H, W, 3): the policy fits each.
    """
    names = observations[0]["image"]
    return {
        "image": {name: _stacked([obs["image"][name] for obs in observations]) for name in names},
        "state": np.stack([obs["state"] for obs in observations]),
        "prompt": [obs["prompt"] for obs in observations],
    }


def _stacked(images: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def actions_to_env(normalized: np.ndarray, norm_stats: NormStats, start_state: np.ndarray | None) -> np.ndarray:
    """Normalised chunk (H, A) → commands (H, A) float64.

    With `delta_actions` all dimensions but the last, the gripper's, are relative to the same ones of the chunk's raw
    start state (S,); else pass None.
    """
    actions = norm_stats.actions.unnormalize(normalized)
    if start_state is not None:
        actions[..., :-1] += start_state[: actions.shape[-1] - 1]
    return actions


def actions_to_labels(actions: np.ndarray, norm_stats: NormStats, start_state: np.ndarray | None) -> np.ndarray:
    """Commands (H, A) → normalised labels (H, A) float32; the inverse of `actions_to_env`."""
    raw = np.array(actions, np.float64)
    if start_state is not None:
        raw[..., :-1] -= start_state[: raw.shape[-1] - 1]
    return norm_stats.actions.normalize(raw)


class NormalizedActions:
    """The part of an `Adapter` that all simulators share whose commands are π0's actions as they are."""

    def __init__(self, norm_stats: NormStats, delta_actions: bool):
        self._norm_stats, self._delta_actions = norm_stats, delta_actions

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_env`: (H, A) → (H, A)."""
        return actions_to_env(chunk, self._norm_stats, state if self._delta_actions else None)

    def to_labels(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        """`actions_to_labels`: (H, A) → (H, A)."""
        return actions_to_labels(actions, self._norm_stats, state if self._delta_actions else None)


def part_of(observation: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    """An array of a raw observation. A missing key is a KeyError that names it."""
    if key not in observation:
        raise KeyError(f"the observation has no {key!r}; it has {sorted(observation)}")
    return observation[key]
