"""LIBERO, byte-equal to stepping it itself and many times faster."""

from ript.env_runner.vec_env import Simulator
from ript.simulators.libero.suites import PACKAGES, SUITE_MAX_STEPS
from ript.simulators.rendering import REMEDY

__all__ = ["PACKAGES", "REMEDY", "SUITES", "make_simulator"]

SUITES = tuple(SUITE_MAX_STEPS)
"""LIBERO's suites, and LIBERO-PRO's."""


def make_simulator(suite: str) -> Simulator:
    """The suite, one of `SUITES`."""
    from ript.simulators.libero.simulator import LiberoSimulator

    return LiberoSimulator(suite)
