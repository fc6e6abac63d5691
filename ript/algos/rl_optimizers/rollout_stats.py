"""How often each scene was solved, kept in a file over all runs that share it."""

from collections.abc import Sequence
from pathlib import Path

from ript.distributed import Distributed
from ript.env_runner.episode import Episode
from ript.json_files import read_json, write_json


class RolloutStats:
    """Successes and tries per scene.

    Args:
        path: JSON file, read now if it is there and written at each update; None keeps nothing.

    Raises ValueError naming a damaged file.
    """

    def __init__(self, path: Path | None, distributed: Distributed):
        self.path, self.distributed = path, distributed
        self.scenes: dict[str, list[int]] = {} if path is None or not path.is_file() else read_json(path)
        """Scene hash → [successes, tries]."""

    def update(self, episodes: Sequence[Episode]) -> None:
        """Counts the episodes of all ranks. A collective."""
        if self.path is None:
            return
        for part in self.distributed.gather([(e.init_hash, e.success) for e in episodes]):
            for scene, success in part:
                entry = self.scenes.setdefault(scene, [0, 0])
                entry[0] += success
                entry[1] += 1
        if self.distributed.is_main:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self.scenes)
