"""The reflow term (RFC) of any algorithm: which decisions it learns from, and how much it weighs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ript.checks import in_range, one_of
from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.storage.batch import Batch
from ript.storage.windows import Window, window_starts

MASKS = ("success_only", "advantage_positive", "advantage_topk")


@dataclass(frozen=True)
class Reflow:
    """A flow loss towards the sampled (noise, chunk) pairs of good decisions, which makes the flow straighter.

    Args:
        rfc_enabled: there is such a term.
        rfc_lambda: its weight.
        reflow_mask_type: the decisions it learns from: of episodes that succeeded, of positive advantage, or those of
            the largest advantages.
        reflow_topk_ratio: of `advantage_topk`: their share among the decisions of an iteration.
        freeze_policy: only to refuse what would change nothing.
    """

    rfc_enabled: bool = False
    rfc_lambda: float = 0.05
    reflow_mask_type: Literal["success_only", "advantage_positive", "advantage_topk"] = "success_only"
    reflow_topk_ratio: float = 0.5
    freeze_policy: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError."""
        one_of("rfc_enabled", self.rfc_enabled, (True, False))
        in_range("rfc_lambda", self.rfc_lambda, 0)
        one_of("reflow_mask_type", self.reflow_mask_type, MASKS)
        in_range("reflow_topk_ratio", self.reflow_topk_ratio, 1e-6, 1)
        if self.weight and self.freeze_policy:
            raise ValueError("rfc_enabled=true needs freeze_policy=false: a frozen policy learns nothing from it")

    @property
    def weight(self) -> float:
        """0: no such term."""
        return self.rfc_lambda if self.rfc_enabled else 0.0

    def select(
        self, windows: Sequence[Window], episodes: Sequence[Episode], distributed: Distributed
    ) -> tuple[list[Window], dict[str, float]]:
        """The windows, those to learn from with their pair; and the share of decisions that take part. A collective.

        A window stands for a decision if it starts with it; others take no part.
        """
        by_id = {episode.episode_id: Decided(episode) for episode in episodes}
        is_decision = np.array([w.start in by_id[w.episode_id].chunk_at for w in windows], bool)
        decisions = np.flatnonzero(is_decision).tolist()
        solved = [by_id[windows[i].episode_id].episode.success for i in decisions]
        keys = [(w.advantage, w.episode_id, w.start) for w in (windows[i] for i in decisions)]
        chosen, count = self._chosen(np.array(keys, np.float64).reshape(-1, 3), np.array(solved, bool), distributed)
        taken = {i for i, is_chosen in zip(decisions, chosen.tolist(), strict=True) if is_chosen}
        paired = [
            replace(window, pair=by_id[window.episode_id].pair(window.start)) if i in taken else window
            for i, window in enumerate(windows)
        ]
        total = distributed.sum({"taken": float(len(taken))})["taken"]
        return paired, {"actor/reflow_mask_ratio": total / count} if count else {}

    def part(self, batch: Batch) -> Batch:
        """The windows of a gradient step that take part."""
        return batch.take([row for row, window in enumerate(batch.windows) if window.pair is not None])

    def _chosen(self, keys: np.ndarray, solved: np.ndarray, distributed: Distributed) -> tuple[np.ndarray, int]:
        """Which of this rank's decisions take part (N,) bool, and how many all ranks have. `keys` is (N, 3): advantage,
        episode, start. A collective."""
        parts = distributed.gather(keys)
        everyone = np.concatenate(parts)
        if self.reflow_mask_type == "success_only":
            return solved, len(everyone)
        if self.reflow_mask_type == "advantage_positive":
            return keys[:, 0] > 0, len(everyone)
        first = sum(len(part) for part in parts[: distributed.rank])
        order = np.lexsort((everyone[:, 2], everyone[:, 1], -everyone[:, 0]))  # equal advantages: the earlier episode
        best = np.zeros(len(everyone), bool)
        best[order[: max(1, round(self.reflow_topk_ratio * len(everyone)))]] = True
        return best[first : first + len(keys)], len(everyone)


class Decided:
    """Where an episode's chunks start, and how each was decided."""

    def __init__(self, episode: Episode):
        self.episode = episode
        self.chunk_at: Mapping[int, int] = {start: chunk for chunk, start in enumerate(window_starts(episode, None))}

    def pair(self, start: int) -> np.ndarray:
        """(2, H, 32): the noise and the whole chunk that it became. Raises ValueError where none was recorded."""
        points = self.episode.decisions[self.chunk_at[start]].points
        if points is None:
            raise ValueError("rfc_enabled: the rollouts did not record the noise that they were decided from")
        return np.stack([points[0], points[-1]])
