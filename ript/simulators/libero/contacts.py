"""Which objects touch: what tells whether a task is solved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class ContactCheck:
    """Stands in for robosuite's `check_contact`, which looks up four names for every contact of the scene.

    Args:
        simulator: a robosuite environment, kept over soft resets.
    """

    def __init__(self, simulator: Any) -> None:
        self._model, self._data = simulator.sim.model._model, simulator.sim.data._data
        self._ids = {self._model.geom(i).name: i for i in range(self._model.ngeom)}
        self._masks: dict[Any, np.ndarray] = {}
        simulator.check_contact = self

    def __call__(self, geoms_1: Any, geoms_2: Any = None) -> bool:
        """Whether a geom of the first group touches one of the second, or any; a group is a model or names."""
        pairs = self._data.contact.geom
        first = self._mask(geoms_1)[pairs]
        second = np.ones_like(first) if geoms_2 is None else self._mask(geoms_2)[pairs]
        return bool((first & second[:, ::-1]).any())

    def _mask(self, group: Any) -> np.ndarray:
        """`(geoms of the model,)` bool."""
        key = group if hasattr(group, "contact_geoms") or isinstance(group, str) else tuple(group)
        if key not in self._masks:
            mask = self._masks[key] = np.zeros(self._model.ngeom, dtype=bool)
            mask[[self._ids[name] for name in _names(group) if name in self._ids]] = True
        return self._masks[key]


def _names(group: Any) -> Sequence[str]:
    if isinstance(group, str):
        return [group]
    return getattr(group, "contact_geoms", group)
