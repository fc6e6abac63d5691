"""Tasks, instructions and evaluation starts: a task is one object that goes on one plate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ript.checks import one_of
from ript.json_files import read_json
from ript.simulators.maniskill.put_on_plate.checkout import Checkout, find_checkout
from ript.simulators.maniskill.put_on_plate.suites import BACKGROUNDS, OBJECTS, SUITES
from ript.simulators.named_tasks import EVALUATION_SEED, EVALUATION_STARTS, NamedTasks


class PutOnPlateBenchmark(NamedTasks):
    """The objects of a suite on each of its plates, in the order in which RLinf numbers its episodes.

    Args:
        name: one of `SUITES`.

    Raises:
        ValueError: there is no such suite, or what it needs is not there: see `find_checkout`.
    """

    max_episode_length = 80
    """RLinf's; 16 seconds."""

    num_steps_wait = 0
    """RLinf waits for nothing: objects fall a few centimetres as an episode begins."""

    def __init__(self, name: str) -> None:
        one_of("suite", name, tuple(SUITES))
        self.draw = SUITES[name]
        self.checkout = find_checkout(name)
        super().__init__(name, _instructions(self.checkout, name))

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        """The task's evaluation starts `(100, 1)` float64: the seeds of 100 episodes that no other seed is."""
        self.get_task_name(task_id)
        return EVALUATION_SEED + np.arange(EVALUATION_STARTS, dtype=np.float64)[:, None]


def _instructions(checkout: Checkout, suite: str) -> dict[str, str]:
    """Task → sentence, as RLinf's environment says it."""
    draw = SUITES[suite]
    _entries(checkout, "table", BACKGROUNDS)
    objects = list(_entries(checkout, "carrot", OBJECTS).items())
    plates = list(_entries(checkout, "plate").items())
    return {
        f"{key}_on_{under}": f"put {thing['name']} on {plate['name']}"
        for key, thing in (objects[number] for number in draw.objects)
        for under, plate in (plates if draw.several_plates else plates[:1])
    }


def _entries(checkout: Checkout, kind: str, expected: int | None = None) -> Mapping[str, Any]:
    """A list of the assets. Raises ValueError unless it has as many entries as RLinf's code wants."""
    path = checkout.database(kind)
    found: Mapping[str, Any] = read_json(path)
    if expected is not None and len(found) != expected:
        raise ValueError(f"{path} names {len(found)}, but RLinf's code wants {expected}: they are of two versions")
    return found
