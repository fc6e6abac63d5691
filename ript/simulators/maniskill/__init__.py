"""ManiSkill's table-top tasks of a Panda arm, simulated on the CPU; an extra of the project."""

from importlib.util import find_spec

from ript.env_runner.vec_env import Simulator
from ript.simulators.maniskill.tasks import PACKAGES, REMEDY, SET_UP, SUITE

__all__ = ["PACKAGES", "REMEDY", "SUITES", "make_simulator"]

SUITES = (SUITE,)
"""All tasks whose assets are in ManiSkill's package."""


def make_simulator(suite: str) -> Simulator:
    """The suite, one of `SUITES`. Raises ValueError where ManiSkill is not installed."""
    if find_spec("mani_skill") is None:
        raise ValueError(f"suite={suite!r} needs ManiSkill, which is not installed: {SET_UP}")
    from ript.simulators.maniskill.simulator import ManiSkillSimulator

    return ManiSkillSimulator(suite)
