"""JSON that a person may have edited or a kill may have cut off, and files that are written whole or not at all."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def read_json(path: Path, what: str = "file") -> dict[str, Any]:
    """A JSON object. Raises FileNotFoundError (`what` not found) or ValueError, naming the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{what} not found: {path}")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object")
    return content


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; see `parse_lines`."""
    return parse_lines(path.read_bytes(), path)[0]


def parse_lines(content: bytes, path: Path) -> tuple[list[dict[str, Any]], int]:
    """The objects of JSONL, and how many bytes they take: a last line that was cut off or is damaged is left out.

    Raises ValueError naming file and line for damage before it.
    """
    objects: list[dict[str, Any]] = []
    intact = 0
    for line in content.splitlines(keepends=True):
        try:
            if not line.endswith(b"\n"):
                break
            objects.append(json.loads(line))
        except ValueError as error:
            if intact + len(line) < len(content):
                raise ValueError(f"{path}, line {len(objects) + 1}: not valid JSON ({error})") from error
            break
        intact += len(line)
    return objects, intact


class JsonLog:
    """A JSONL file that grows: an object is on the disk when `append` returns.

    A last line that was cut off is dropped from the file, so that the next one does not go on in it. Raises ValueError
    for damage before it.
    """

    def __init__(self, path: Path):
        content = path.read_bytes() if path.exists() else b""
        self.objects, intact = parse_lines(content, path)
        """What was there when it was opened."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        if intact < len(content):
            logger.info("%s: an unfinished last line is dropped", path)
            os.ftruncate(self._descriptor, intact)

    def append(self, content: Mapping[str, Any]) -> None:
        """Writes a line and waits until it is on the disk."""
        line = json.dumps(content).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Nothing can be appended after it."""
        os.close(self._descriptor)


def write_whole(path: Path, text: str) -> None:
    """Writes a text file so that a kill leaves the old file or the new one."""
    with unfinished(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON so that a kill leaves the old file or the new one."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A file beside `path` to write to; it becomes `path` when the block ends well.

    What a killed process left there is removed. An error in the block leaves `path` as it was; an OSError, such as a
    full disk, names it.
    """
    temporary = path.with_name(f"{path.name}.unfinished")
    try:
        temporary.unlink(missing_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {error}") from error
