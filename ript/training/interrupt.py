"""Ctrl-C and SIGTERM end a run after the iteration in progress, with a checkpoint; a second one ends it at once."""

import logging
import signal
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """The run was ended by a signal, everything is saved; the exit code is 128 + the signal's number."""


class Interrupt(AbstractContextManager["Interrupt"]):
    """Notes the first signal within the block, instead of dying of it."""

    received: int = 0
    """The signal's number, 0 for none."""

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> Any:
        if self.received:
            raise KeyboardInterrupt
        self.received = number
        name = signal.Signals(number).name
        logger.warning("%s: this iteration is finished and saved first; once more to stop at once", name)
