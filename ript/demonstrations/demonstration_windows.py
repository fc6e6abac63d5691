"""Training windows from demonstrations, for supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from ript.demonstrations.source import Source
from ript.models.pi0.norm_stats import NormStats
from ript.storage.windows import Window, padded_labels

DEMONSTRATED = 1.0
"""The advantage of demonstrated windows: what they show is to be imitated."""


class DemonstrationWindows(Dataset[Window]):
    """A window at every step that has an image: what was seen, and the H actions that followed.

    The same windows as those cut from rollouts, so the same loss takes them. `episode_id` numbers the demonstrations
    of all sources. Images are read when a window is.

    Args:
        sources: demonstrations of one task each.
        norm_stats: normalise states and actions.
        horizon: actions H per window; those after the end are padding.
        delta_actions: labels are relative to the window's start state, see `actions_to_labels`.
        prompts: one per source; None takes each file's own instruction.

    Raises:
        ValueError: no demonstration has images, a file has no instruction and needs one, or is another robot's than
            the statistics.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        norm_stats: NormStats,
        horizon: int = 50,
        delta_actions: bool = False,
        prompts: Sequence[str] | None = None,
    ) -> None:
        self._sources = list(sources)
        self._prompts = [_instruction(source) for source in sources] if prompts is None else list(prompts)
        if len(self._prompts) != len(self._sources):
            raise ValueError(f"{len(self._prompts)} prompts for {len(self._sources)} files")
        self.norm_stats, self.horizon, self.delta_actions = norm_stats, horizon, delta_actions
        for source in self._sources:
            _check_robot(source, norm_stats)
        episodes = [(s, d) for s, source in enumerate(self._sources) for d in range(len(source))]
        self._starts = [
            (episode_id, s, d, int(step))
            for episode_id, (s, d) in enumerate(episodes)
            for step in self._sources[s][d].image_steps
        ]
        if not self._starts:
            paths = ", ".join(str(source.path) for source in self._sources)
            raise ValueError(f"no demonstration has images to start a window from: {paths or 'no files'}")

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Window:
        episode_id, source, number, start = self._starts[index]
        demonstration = self._sources[source][number]
        state = demonstration.proprioception[start]
        observation = {
            "image": self._sources[source].images(number, start),
            "state": self.norm_stats.state.normalize(state),
            "prompt": self._prompts[source],
        }
        ahead = demonstration.actions[start : start + self.horizon]
        labels, is_pad = padded_labels(ahead, self.horizon, self.norm_stats, state if self.delta_actions else None)
        return Window(observation, labels, is_pad, DEMONSTRATED, episode_id, start)


def _check_robot(source: Source, norm_stats: NormStats) -> None:
    robot = source.robot
    found = robot.ee_states + robot.gripper_states, robot.actions
    expected = norm_stats.state.width, norm_stats.actions.width
    if found != expected:
        raise ValueError(
            f"{source.path} has a state of {found[0]} and actions of {found[1]} numbers, the policy's statistics are "
            f"of {expected[0]} and {expected[1]}"
        )


def _instruction(source: Source) -> str:
    if source.language is None:
        raise ValueError(f"{source.path}: data.attrs[problem_info] is missing, and no prompt was given for the file")
    return source.language
