"""Demonstrates tasks in a simulator of its own: what a collecting worker process runs."""

from __future__ import annotations

import itertools

import numpy as np

from ript.demonstrations.perturbation import NOISE_LEVELS, noise_steps
from ript.demonstrations.recording import Recording
from ript.demonstrations.scripted_demonstrator import ScriptedDemonstrator
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.seeds import Word, numpy_generator
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv
from ript.simulators.libero.expert.rows import images_of, row_of


class Demonstrator(ScriptedDemonstrator[LiberoEnv]):
    """Solves tasks of one suite with the scripted expert and writes down how."""

    def __init__(self, settings: DemonstratorSettings) -> None:
        super().__init__(settings, LiberoEnv)
        self._benchmark = LiberoBenchmark(settings.suite)

    def record(self, env: LiberoEnv, scene_seed: int, number: int = 0) -> tuple[Recording, bool]:
        """One episode, and whether it solved the task.

        Noise is added to the expert's commands, so that the data shows how to recover. What is executed is the label:
        a policy plays many steps open loop, and the commands alone, with their answers to noise that the policy does
        not have, would lead it astray.
        """
        from ript.simulators.libero.expert.expert import expert_actions  # imports mujoco: after rendering is configured

        rng = numpy_generator(Word.DEMONSTRATION, scene_seed)
        every = self._settings.image_every
        start = env.reset(scene_seed)
        recording = Recording(number, scene_seed, float(rng.choice(NOISE_LEVELS)), start.init_state)
        seen, success = start.observation, False
        commands = itertools.islice(expert_actions(env.simulator), self._benchmark.max_episode_length)
        for command, noise in zip(commands, noise_steps(rng, recording.noise, 6), strict=False):
            commanded = np.clip(command, -1, 1)
            action = commanded.copy()
            action[:6] = np.clip(commanded[:6] + noise, -1, 1)
            step = len(recording)
            if every and step % every == 0:
                recording.add_images(images_of(seen))
            observation = env.simulator._get_observations()
            recording.add_step(row_of(env.get_state(), observation, action, commanded))
            is_due = bool(every) and (step + 1) % every == 0
            result = env.step_chunk(action[None], observe_last=is_due)
            seen, success = result.observations.get(1, {}), result.success
            if success:
                break
        return recording, success
