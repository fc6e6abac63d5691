"""What a check found, and what to do about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    level: Level
    """`note`: a run can start, but perhaps not the one that was meant; `problem`: something prevents a run."""
    text: str
    remedy: str = ""
    """What to do, in one line."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The same in numbers, for scripts."""

    def __post_init__(self) -> None:
        """Raises ValueError for a problem without a remedy."""
        if self.level == "problem" and not self.remedy:
            raise ValueError(f"{self.subject}: a problem needs a remedy")


def ok(subject: str, text: str, **data: Any) -> Finding:
    """As it should be."""
    return Finding(subject, "ok", text, data=data)


def note(subject: str, text: str, remedy: str, **data: Any) -> Finding:
    """Something to know."""
    return Finding(subject, "note", text, remedy, data)


def problem(subject: str, text: str, remedy: str, **data: Any) -> Finding:
    """Something that prevents a run."""
    return Finding(subject, "problem", text, remedy, data)


def amount(size: int) -> str:
    """Bytes in words: `1.5 GiB`, `20 MiB`."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
