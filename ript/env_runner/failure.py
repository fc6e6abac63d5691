"""Environments that break down. Simulator processes import this module: it needs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST_IN_A_ROW = 3
"""So many failures in a row are made up for; one more ends the command."""


class EnvironmentFailure(RuntimeError):
    """An environment broke down: its process died, hung or raised, or its numbers were not finite.

    What it was playing does not count: neither as a success nor as a failure of the policy.
    """

    arrays: Mapping[str, Any] = {}
    """Name → array: what was wrong, for a file to look at."""

    @property
    def brief(self) -> str:
        """One line: the message's first and, where a traceback follows, its last."""
        first, *further = [line for line in str(self).splitlines() if line.strip()] or [type(self).__name__]
        return f"{first} {further[-1].strip()}" if further else first


class NotFinite(EnvironmentFailure):
    """A number of a rollout is NaN or Inf."""

    def __init__(self, message: str, arrays: Mapping[str, Any]) -> None:
        super().__init__(message, arrays)
        self.arrays = arrays

    def __str__(self) -> str:
        return str(self.args[0])
