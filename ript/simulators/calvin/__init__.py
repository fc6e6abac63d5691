"""CALVIN's table with a Panda arm and 34 tasks told in language; a user installs `calvin_env` from its source."""

from importlib.util import find_spec

from ript.env_runner.vec_env import Simulator
from ript.simulators.calvin.tasks import INSTALL, PACKAGES, REMEDY, SUITE

__all__ = ["INSTALL", "PACKAGES", "REMEDY", "SUITES", "make_simulator"]

SUITES = (SUITE,)
"""All tasks, in environment D, where CALVIN evaluates."""


def make_simulator(suite: str) -> Simulator:
    """The suite, one of `SUITES`. Raises ValueError where `calvin_env` or PyBullet is not installed."""
    missing = [name for name in ("calvin_env", "pybullet") if find_spec(name) is None]
    if missing:
        raise ValueError(f"suite={suite!r} needs {' and '.join(missing)}, which is not installed: {INSTALL}")
    from ript.simulators.calvin.simulator import CalvinSimulator

    return CalvinSimulator(suite)
