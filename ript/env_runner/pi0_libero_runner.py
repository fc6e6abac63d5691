"""The runner with LIBERO put in."""

from typing import Any

from ript.env_runner.runner import Runner
from ript.simulators.libero.simulator import LiberoSimulator


class Pi0LiberoRunner(Runner):
    """Rollouts of a policy on the tasks of one LIBERO suite, each environment in a process of its own.

    Args:
        benchmark_name: a suite, see `ript.simulators.libero.benchmark.SUITE_MAX_STEPS`.
        *args, **options: those of `Runner` after `simulator`.
    """

    def __init__(self, benchmark_name: str = "libero_spatial", *args: Any, **options: Any):
        super().__init__(LiberoSimulator(benchmark_name), *args, **options)
