"""The suites of the one environment: which of its objects, backgrounds and plates an episode draws from."""

from collections.abc import Mapping
from typing import NamedTuple

OBJECTS, BACKGROUNDS = 25, 21
"""How many RLinf's code wants of its assets."""


class Draw(NamedTuple):
    """What RLinf's environment is made with."""

    obj_set: str
    """RLinf's `obj_set`; it also says which of the 21 backgrounds there are."""
    objects: range
    """The numbers of its objects among the 25."""
    several_plates: bool
    """RLinf's `use_multiple_plates`: all plates of the assets, or the first one alone."""


SUITES: Mapping[str, Draw] = {
    "maniskill_put_on_plate_25": Draw("train", range(16), False),
    "maniskill_put_on_plate_25_plates": Draw("train", range(16), True),
    "maniskill_put_on_plate_25_test": Draw("test", range(16, 25), False),
}
"""Suite → what it draws from. RLinf trains and evaluates on the first; the last has other objects and backgrounds."""
