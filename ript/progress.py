"""Progress bars: tqdm's on a terminal, plain lines at intervals where the output goes to a file."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

logger = logging.getLogger(__name__)

INTERVAL_S = 60.0
"""Least time between two lines of one bar."""


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """A bar on stderr if that is a terminal, else one that logs; the options (`total`, `desc`, …) are tqdm's."""
    return (tqdm if sys.stderr.isatty() else LoggedProgress)(iterable, **options)


class LoggedProgress(tqdm):
    """A bar that logs a line every `INTERVAL_S`, and one at its end unless `leave` is false."""

    def __init__(self, iterable: Iterable[Any] | None = None, **options: Any) -> None:
        self._logged_at = time.monotonic()
        form = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        super().__init__(iterable, file=io.StringIO(), bar_format=form, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """What tqdm calls to redraw."""
        if time.monotonic() - self._logged_at >= INTERVAL_S:
            self._log()

    def close(self) -> None:
        """Logs the last line; a second call does nothing."""
        if not self.disable and self.leave:
            self._log()
        super().close()

    def _log(self) -> None:
        self._logged_at = time.monotonic()
        logger.info("%s", str(self).strip())
