"""`episodes.jsonl`: one line per episode, on the disk as soon as the episode has ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ript.evaluation.protocol import Setting
from ript.json_files import JsonLog, read_lines
from ript.locks import FolderLock

EPISODE_LOG = "episodes.jsonl"


@dataclass(frozen=True)
class EpisodeRecord:
    """How one episode went; the keys of a line."""

    denoise_steps: int
    cfg_scale: float
    task: str
    task_id: int
    index: int
    """The episode's number; equal ones start alike under every setting."""
    state_index: int
    """Which of the benchmark's initial states it started from."""
    scene_seed: int
    success: bool
    length: int
    """Executed control steps."""
    seconds: float
    """Wall time from the reset on, while others may have run beside it."""
    scene_hash: str
    """Of the simulator's model and state after the reset: equal ones are the same scene."""

    @property
    def setting(self) -> Setting:
        """The setting it was played under."""
        return Setting(self.denoise_steps, self.cfg_scale)


class EpisodeLog(AbstractContextManager["EpisodeLog"]):
    """The folder's episodes, and room for more. One process at a time has it open.

    A last line that was cut off is dropped: its episode counts as not played. Raises ValueError when another process
    writes to the folder, or when a line before the last is damaged.
    """

    records: list[EpisodeRecord]
    """In the order in which they ended."""

    def __init__(self, folder: Path):
        path = folder / EPISODE_LOG
        with ExitStack() as opened:
            opened.enter_context(FolderLock(folder))
            self._log = opened.enter_context(closing(JsonLog(path)))
            self.records = _records(self._log.objects, path)
            self._opened = opened.pop_all()

    def append(self, record: EpisodeRecord) -> None:
        """Writes a line and waits until it is on the disk."""
        self._log.append(asdict(record))
        self.records.append(record)

    def missing(self, setting: Setting, task: str, episodes: int) -> list[int]:
        """Which of the first so many episodes have not been played."""
        done = {record.index for record in select(self.records, setting, task)}
        return [index for index in range(episodes) if index not in done]

    def close(self) -> None:
        """Lets others have the log."""
        self._opened.close()

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def select(records: Iterable[EpisodeRecord], setting: Setting, task: str | None = None) -> list[EpisodeRecord]:
    """The records of a setting, and of a task."""
    return [record for record in records if record.setting == setting and task in (None, record.task)]


def read_log(folder: Path) -> list[EpisodeRecord]:
    """The records of a folder. Raises ValueError for a damaged line before the last."""
    path = folder / EPISODE_LOG
    return _records(read_lines(path), path)


def _records(lines: Sequence[Mapping[str, Any]], path: Path) -> list[EpisodeRecord]:
    records: list[EpisodeRecord] = []
    for line in lines:
        try:
            records.append(EpisodeRecord(**line))
        except TypeError as error:
            raise ValueError(f"{path}, line {len(records) + 1}: not an episode ({error})") from error
    return records
