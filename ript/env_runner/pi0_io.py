"""What π0 takes and gives, whatever the simulator: batches of observations, and normalised actions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ript.models.pi0.norm_stats import NormStats


def collate_observations(observations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Single observations → one batch: images (B, H, W, 3), state (B, 8), B prompts.

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
    """Normalised chunk (H, 7) → commands (H, 7) float64.

    With `delta_actions` the first six dimensions are relative to the chunk's raw start state (8,); else pass None.
    """
    actions = norm_stats.actions.unnormalize(normalized)
    if start_state is not None:
        actions[..., :6] += start_state[:6]
    return actions


def actions_to_labels(actions: np.ndarray, norm_stats: NormStats, start_state: np.ndarray | None) -> np.ndarray:
    """Commands (H, 7) → normalised labels (H, 7) float32; the inverse of `actions_to_env`."""
    raw = np.array(actions, np.float64)
    if start_state is not None:
        raw[..., :6] -= start_state[:6]
    return norm_stats.actions.normalize(raw)
