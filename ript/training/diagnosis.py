"""Says in the log, and in the run's folder, why nothing is learned."""

import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ript.training.diagnosis_rules import HISTORY, RULES

logger = logging.getLogger(__name__)

REPEAT_AFTER = 10
"""Iterations until a diagnosis that stays is said again; twice as many each time after."""
ABSENT = 3
"""Iterations without a diagnosis after which it is news again."""


@dataclass
class _Said:
    seen: int
    """The last iteration that had the diagnosis."""
    due: int
    """The iteration at which it is said again."""
    pause: int


class Diagnostician:
    """Watches the metrics of a run on rank 0; on other ranks it does nothing.

    What it finds is a warning in the log and a line of `diagnosis.jsonl`, `{"step", "name", "cause", "advice"}`. A run
    that is well has no such file. A resumed run starts a new history.
    """

    def __init__(self, run_dir: Path, enabled: bool):
        self.enabled = enabled
        self._path = run_dir / "diagnosis.jsonl"
        self._history: deque[Mapping[str, float]] = deque(maxlen=HISTORY)
        self._said: dict[str, _Said] = {}

    def observe(self, step: int, metrics: Mapping[str, float]) -> None:
        """Takes the metrics of training iteration `step`, and says what is wrong."""
        if not self.enabled:
            return
        self._history.append(dict(metrics))
        for rule in RULES:
            diagnosis = rule(self._history)
            if diagnosis is not None and self._is_news(step, diagnosis.name):
                logger.warning("step %d: %s: %s\n  advice: %s", step, diagnosis.name, diagnosis.cause, diagnosis.advice)
                with self._path.open("a") as file:
                    file.write(json.dumps({"step": step, **diagnosis._asdict()}) + "\n")

    def _is_news(self, step: int, name: str) -> bool:
        said = self._said.get(name)
        if said is None or step - said.seen > ABSENT:
            self._said[name] = _Said(step, step + REPEAT_AFTER, REPEAT_AFTER)
            return True
        said.seen = step
        if step < said.due:
            return False
        said.pause *= 2
        said.due = step + said.pause
        return True
