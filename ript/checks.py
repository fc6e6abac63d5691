"""Checks of arguments, with one wording: the name, the value, what is valid."""

import difflib
from collections.abc import Sequence
from typing import Any


def one_of(name: str, value: Any, valid: Sequence[Any]) -> None:
    """Raises ValueError unless `value` is among `valid`; names the nearest valid value, whatever its case."""
    if value in valid:
        return
    by_lower = {str(v).lower(): v for v in valid}
    near = difflib.get_close_matches(str(value).lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[near[0]]}?" if near else "."
    raise ValueError(f"{name}={value!r} is not valid{hint} Valid: {', '.join(map(str, valid))}")


def in_range(name: str, value: float | None, low: float, high: float = float("inf")) -> None:
    """Raises ValueError unless `value` is a number in [low, high]; None ("not set") passes."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        bounds = f"at least {low}" if high == float("inf") else f"from {low} to {high}"
        raise ValueError(f"{name}={value!r} is not valid: must be a number {bounds}")


def whole_number(name: str, value: int | None, low: int) -> None:
    """Raises ValueError unless `value` is an integer of at least `low`; None ("not set") passes."""
    in_range(name, value, low)
    if value is not None and not isinstance(value, int):
        raise ValueError(f"{name}={value!r} is not valid: must be a whole number")
