"""Which simulator knows a suite, without importing one that is not asked for.

A simulator is a folder here. Its `__init__.py` imports nothing of the simulator itself and has

    SUITES                   names of the suites that it knows
    PACKAGES                 names of the installed distributions that it needs
    REMEDY                   what helps where it is installed and does not start: mostly its renderer's libraries
    INSTALL                  the command that brings the packages; only where no extra of the project does
    make_simulator(suite)    the suite, as `ript.env_runner.vec_env.Simulator`; what it needs is imported here, and a
                             ValueError says how to install it
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from types import ModuleType

import ript.simulators
from ript.checks import one_of
from ript.env_runner.vec_env import Simulator


def suites() -> Sequence[str]:
    """The names of all suites, one simulator's after the other's."""
    return tuple(_folders())


def simulators() -> Mapping[str, ModuleType]:
    """Name → folder of every simulator, whether what it needs is installed or not."""
    return {folder.__name__.rpartition(".")[2]: folder for folder in _folders().values()}


def make_simulator(suite: str) -> Simulator:
    """The suite called so. Raises ValueError naming the nearest and all valid ones."""
    one_of("suite", suite, suites())
    simulator: Simulator = _folders()[suite].make_simulator(suite)
    return simulator


@cache
def _folders() -> dict[str, ModuleType]:
    """Suite → the folder that knows it."""
    found: dict[str, ModuleType] = {}
    for module in pkgutil.iter_modules(ript.simulators.__path__):
        if module.ispkg:
            folder = importlib.import_module(f"{ript.simulators.__name__}.{module.name}")
            found |= dict.fromkeys(folder.SUITES, folder)
    return found
