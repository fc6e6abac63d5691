"""The runner on a suite of any simulator."""

from typing import Any

from ript.env_runner.runner import Runner
from ript.simulators.registry import make_simulator


class SuiteRunner(Runner):
    """Rollouts of a policy on the tasks of one suite.

    Args:
        benchmark_name: the suite, of any simulator.
        **options: those of `Runner` after `simulator`.

    Raises:
        ValueError: there is no such suite, or its simulator is not installed.
    """

    def __init__(self, benchmark_name: str, **options: Any):
        super().__init__(make_simulator(benchmark_name), **options)
