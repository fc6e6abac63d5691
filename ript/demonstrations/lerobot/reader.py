"""Demonstrations of LeRobot datasets, with the interface of `ript.demonstrations.reader.Demonstrations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ript.demonstrations.lerobot.features import FeatureOptions, find_features
from ript.demonstrations.lerobot.frames import ParquetImages, VideoImages
from ript.demonstrations.lerobot.metadata import EpisodeEntry, Metadata, read_metadata, read_table
from ript.demonstrations.reader import Demonstration, Start, starts_of
from ript.demonstrations.recording import CAMERAS, RobotLayout
from ript.models.pi0.dims import ACTION_DIM, STATE_DIM

HAS_IMAGE = "has_image"
"""The feature of our exports that says which frames have images; without it, all have."""


class LeRobotDataset:
    """A dataset, its frames without images in memory (120 bytes each).

    Args:
        root: the folder that holds `meta`.
        features: see `FeatureOptions`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, of an unknown version, or lacks what is needed. Both name file and key.
    """

    def __init__(self, root: str | Path, features: Mapping[str, Any] | None = None) -> None:
        self.metadata: Metadata = read_metadata(Path(root))
        self._options = FeatureOptions.of(features)
        self.names = find_features(self.metadata.info, self.metadata.features, self._options)
        self._frames = self._read_frames()
        self._check_gripper()
        parquet, video = ParquetImages(), VideoImages(self.metadata.fps)
        self._images: dict[str, ParquetImages | VideoImages] = {
            name: video if self.metadata.features[name]["dtype"] == "video" else parquet for name in self.names.cameras
        }

    @property
    def instructions(self) -> list[str]:
        """The tasks' instructions, each once."""
        return list(dict.fromkeys(episode.task for episode in self.metadata.episodes))

    def of_task(self, language: str, task: str | None = None) -> LeRobotDemonstrations:
        """The episodes of a task: those exported from `task` if the dataset says so, else those of its instruction.

        Raises ValueError where there are none.
        """
        chosen = [e for e in self.metadata.episodes if _is_of(e, language, task)]
        if not chosen:
            known = "; ".join(self.instructions)
            raise ValueError(f"{self.metadata.root / 'meta'}: no episode of the task {language!r}. Tasks: {known}")
        return LeRobotDemonstrations(self, language, chosen)

    @property
    def converts_gripper(self) -> bool:
        """Whether its gripper commands are turned into the policy's."""
        return self._options.gripper not in (None, "-1_open")

    def __iter__(self) -> Iterator[Demonstration]:
        """All episodes."""
        return (self.demonstration(episode) for episode in self.metadata.episodes)

    def demonstration(self, episode: EpisodeEntry) -> Demonstration:
        """One episode without its images."""
        state, action, has_image = (column[episode.row :][: episode.length] for column in self._frames[episode.file])
        start, seed = episode.extra.get("init_state"), episode.extra.get("scene_seed")
        return Demonstration(
            name=f"episode_{episode.index}",
            actions=self._to_commands(action),
            proprioception=state,
            image_steps=np.flatnonzero(has_image),
            start_state=None if start is None else np.array(start, np.float64),
            scene_seed=seed,
        )

    def images(self, episode: EpisodeEntry, step: int) -> dict[str, np.ndarray]:
        """Both images (H, W, 3) uint8, upright, by π0's names of the cameras."""
        images = [self._images[name].image(episode, name, step) for name in self.names.cameras]
        if self._options.upside_down:
            images = [np.ascontiguousarray(image[::-1, ::-1]) for image in images]
        return dict(zip(CAMERAS, images, strict=True))

    def _read_frames(self) -> dict[Path, tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """File → state (N, 8), action (N, 7) and has_image (N,) of its rows, after a look at which episode they are."""
        found = {}
        sparse = [HAS_IMAGE] if HAS_IMAGE in self.metadata.features else []
        for path in dict.fromkeys(episode.file for episode in self.metadata.episodes):
            table = read_table(path, [self.names.state, self.names.action, "episode_index", *sparse])
            state = _matrix(path, table, self.names.state, STATE_DIM)
            action = _matrix(path, table, self.names.action, ACTION_DIM)
            has_image = table[HAS_IMAGE].to_numpy() if sparse else np.ones(len(table), bool)
            self._check_rows(path, table["episode_index"].to_numpy())
            found[path] = state, action, has_image
        return found

    def _check_rows(self, path: Path, numbers: np.ndarray) -> None:
        for episode in self.metadata.episodes:
            if episode.file == path:
                rows = numbers[episode.row : episode.row + episode.length]
                if len(rows) < episode.length or (rows != episode.index).any():
                    where = f"rows {episode.row} to {episode.row + episode.length - 1}"
                    raise ValueError(f"{path}: episode_index: {where} are not those of episode {episode.index}")

    def _check_gripper(self) -> None:
        lowest = min(action[:, -1].min() for _, action, _ in self._frames.values())
        if self._options.gripper is None and lowest >= 0:
            raise ValueError(
                f"{self.metadata.info}: features[{self.names.action}]: no gripper command is negative: -1 is not open; "
                "set lerobot_features.gripper to 1_open or 0_open (-1_open if it is right all the same)"
            )

    def _to_commands(self, action: np.ndarray) -> np.ndarray:
        if not self.converts_gripper:
            return action
        commands = action.copy()
        commands[:, -1] = 2 * action[:, -1] - 1
        if self._options.gripper == "1_open":
            commands[:, -1] *= -1
        return commands


class LeRobotDemonstrations:
    """The episodes of one task of a dataset."""

    robot = RobotLayout()
    """LIBERO's: what the dataset has is checked against it."""

    def __init__(self, dataset: LeRobotDataset, language: str, episodes: Sequence[EpisodeEntry]) -> None:
        self.path = dataset.metadata.root
        self.language: str | None = language
        self._dataset, self._episodes = dataset, list(episodes)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The episodes' numbers in the dataset."""
        return tuple(episode.index for episode in self._episodes)

    def __len__(self) -> int:
        return len(self._episodes)

    def __getitem__(self, index: int) -> Demonstration:
        return self._dataset.demonstration(self._episodes[index])

    def __iter__(self) -> Iterator[Demonstration]:
        return (self[index] for index in range(len(self)))

    def images(self, index: int, step: int) -> dict[str, np.ndarray]:
        """As `Demonstrations.images`. Raises ValueError naming file and feature."""
        return self._dataset.images(self._episodes[index], step)

    def starts(self) -> list[Start]:
        """Where the demonstrations start. Raises ValueError for a dataset that does not say."""
        return starts_of(self.path, self)


def _is_of(episode: EpisodeEntry, language: str, task: str | None) -> bool:
    exported_from = episode.extra.get("task")
    if exported_from is not None and task is not None:
        return bool(exported_from == task)
    return episode.task.strip().lower() == language.strip().lower()


def _matrix(path: Path, table: Any, name: str, width: int) -> np.ndarray:
    """A column of lists as (N, width) float64."""
    column = table[name].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    if len(flat) != len(column) * width or not len(flat):
        raise ValueError(f"{path}: {name} is not {width} numbers in each of its {len(column)} rows")
    if not np.isfinite(flat).all():
        raise ValueError(f"{path}: {name} holds NaN or Inf")
    return flat.reshape(-1, width)
