"""Demonstrates tasks in a simulator of its own: what a collecting worker process runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ript.demonstrations.scripted_demonstrator import ScriptedDemonstrator
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.vec_env import Observation
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv
from ript.simulators.libero.expert.rows import images_of, row_of


class Demonstrator(ScriptedDemonstrator[LiberoEnv]):
    """Solves tasks of one suite with the scripted expert and writes down how."""

    moving = 6

    def __init__(self, settings: DemonstratorSettings) -> None:
        super().__init__(settings, LiberoEnv, LiberoBenchmark(settings.suite))

    def commands(self, env: LiberoEnv) -> Iterator[np.ndarray]:
        """The expert's, from where the simulator says that things are."""
        from ript.simulators.libero.expert.expert import expert_actions  # imports mujoco: after rendering is configured

        return expert_actions(env.simulator)

    def images(self, seen: Observation) -> Mapping[str, np.ndarray]:
        """Both cameras."""
        return images_of(seen)

    def row(self, env: LiberoEnv, action: np.ndarray, commanded: np.ndarray) -> Mapping[str, np.ndarray]:
        """As official files, and the command."""
        return row_of(env.get_state(), env.simulator._get_observations(), action, commanded)
