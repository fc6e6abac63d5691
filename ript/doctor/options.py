"""What is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Options:
    """The command line."""

    policy: Path | None = None
    """A policy folder; None is the one that ships with the project."""
    runs: Path = Path("runs")
    """Where runs are written."""
    start_simulators: bool = True
    norm_stats: Path | None = None
    """Statistics; None takes those in the policy folder."""
    tokenizer: Path | None = None
    """Likewise."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """The options of `ript.policy_options`."""
