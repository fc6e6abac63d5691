"""Demonstrates tasks with MetaWorld's own scripted experts: what a collecting worker process runs."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ript.demonstrations.perturbation import NOISE_LEVELS, noise_steps
from ript.demonstrations.recording import Recording
from ript.demonstrations.scripted_demonstrator import ScriptedDemonstrator
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.seeds import Word, numpy_generator
from ript.simulators.metaworld.benchmark import MetaWorldBenchmark
from ript.simulators.metaworld.env import IMAGE, MetaWorldEnv


class Demonstrator(ScriptedDemonstrator[MetaWorldEnv]):
    """Solves tasks of one suite with the scripted experts and writes down how."""

    def __init__(self, settings: DemonstratorSettings) -> None:
        super().__init__(settings, MetaWorldEnv)
        self._benchmark = MetaWorldBenchmark(settings.suite)

    def record(self, env: MetaWorldEnv, scene_seed: int, number: int = 0) -> tuple[Recording, bool]:
        """One episode, and whether it solved the task. Noise is added to the expert's commands, and is in the label."""
        from metaworld.policies import ENV_POLICY_MAP  # imports mujoco: after rendering is configured

        make_expert: Any = ENV_POLICY_MAP[env.scene.task_name]
        expert = make_expert()
        rng = numpy_generator(Word.DEMONSTRATION, scene_seed)
        every = self._settings.image_every
        start = env.reset(scene_seed, num_steps_wait=self._benchmark.num_steps_wait)
        recording = Recording(number, scene_seed, float(rng.choice(NOISE_LEVELS)), start.init_state)
        seen, success = start.observation, False
        for noise in noise_steps(rng, recording.noise, 3):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Constant")  # that the command is clipped
                commanded = np.clip(expert.get_action(env.full_observation), -1, 1).astype(np.float64)
            action = commanded.copy()
            action[:3] = np.clip(commanded[:3] + noise, -1, 1)
            step = len(recording)
            if every and step % every == 0:
                recording.add_images({"base_0_rgb": seen[IMAGE]})
            state = env.full_observation
            recording.add_step(
                {
                    "actions": action,
                    "expert_actions": commanded,
                    "states": env.scene.state(),
                    "obs/ee_states": state[:3],
                    "obs/gripper_states": state[3:4],
                }
            )
            result = env.step_chunk(action[None], observe_last=bool(every) and (step + 1) % every == 0)
            seen, success = result.observations.get(1, {}), result.success
            if success or len(recording) == self._benchmark.max_episode_length:
                break
        return recording, success
