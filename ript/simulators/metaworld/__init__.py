"""MetaWorld's 50 tasks of a Sawyer arm, with the conventions of the public π0 checkpoints; an extra of the project."""

from importlib.util import find_spec

from ript.env_runner.vec_env import Simulator
from ript.simulators.metaworld.tasks import PACKAGES, TASKS
from ript.simulators.rendering import REMEDY

__all__ = ["PACKAGES", "REMEDY", "SUITES", "make_simulator"]

SUITES = tuple(TASKS)
"""All tasks, and MetaWorld's choice of ten."""


def make_simulator(suite: str) -> Simulator:
    """The suite, one of `SUITES`. Raises ValueError where MetaWorld is not installed."""
    if find_spec("metaworld") is None:
        raise ValueError(f"suite={suite!r} needs MetaWorld, which is not installed: pip install -e '.[metaworld]'")
    from ript.simulators.metaworld.simulator import MetaWorldSimulator

    return MetaWorldSimulator(suite)
