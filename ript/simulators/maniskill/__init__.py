"""ManiSkill's table-top tasks, simulated on the CPU; an extra of the project."""

from importlib.util import find_spec

from ript.env_runner.vec_env import Simulator
from ript.simulators.maniskill.put_on_plate import suites
from ript.simulators.maniskill.tasks import PACKAGES, REMEDY, SET_UP, SUITE

__all__ = ["PACKAGES", "REMEDY", "SUITES", "make_simulator"]

SUITES = (SUITE, *suites.SUITES)
"""All tasks of a Panda arm whose assets are in ManiSkill's package; and objects on plates with a WidowX, for which a
user has a checkout of RLinf."""


def make_simulator(suite: str) -> Simulator:
    """The suite, one of `SUITES`. Raises ValueError where ManiSkill, or what else it needs, is not installed."""
    if find_spec("mani_skill") is None:
        raise ValueError(f"suite={suite!r} needs ManiSkill, which is not installed: {SET_UP}")
    if suite in suites.SUITES:
        from ript.simulators.maniskill.put_on_plate.simulator import PutOnPlateSimulator

        return PutOnPlateSimulator(suite)
    from ript.simulators.maniskill.simulator import ManiSkillSimulator

    return ManiSkillSimulator(suite)
