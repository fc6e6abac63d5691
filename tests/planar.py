"""A point that must reach a target in the plane: a simulator of its own, small enough for a test.

It is put into the runner like any other simulator, so that runner, rollout generator and optimizer are the real ones.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from plane import IMAGE_SIZE, TARGETS, TASKS, PlanarEnv

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.checks import one_of
from ript.env_runner.pi0_io import actions_to_env, actions_to_labels
from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import Chunk, ChunkResult, Observation, PendingResults, Render, Start, StartOfEpisode
from ript.models.pi0.checkpoint import save_model
from ript.models.pi0.config import small_pi0_config
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.norm_stats import NormStats
from ript.models.pi0.policy_card import PolicyCard
from ript.models.pi0.preprocess import CAMERAS

__all__ = ["IMAGE_SIZE", "TARGETS", "TASKS", "PlanarEnv"]


class PlanarVecEnv:
    """Many planes in this process: a `VecEnv`."""

    is_closed = False

    def __init__(self, task_id: int, num_envs: int):
        self.envs = [PlanarEnv(task_id) for _ in range(num_envs)]
        self.num_envs = num_envs

    def load_task(self, task_id: int) -> None:
        for env in self.envs:
            env.load_task(task_id)

    def reset(self, starts: Sequence[Start | None]) -> list[StartOfEpisode | None]:
        pairs = zip(self.envs, starts, strict=True)
        return [None if start is None else env.reset(start.scene_seed, start.init_state) for env, start in pairs]

    def step_chunk(self, chunks: Sequence[Chunk | None]) -> list[ChunkResult | None]:
        pairs = zip(self.envs, chunks, strict=True)
        return [None if chunk is None else env.step_chunk(chunk) for env, chunk in pairs]

    def begin_chunk(self, chunks: Sequence[Chunk | None]) -> PendingResults:
        return partial(self.step_chunk, chunks)

    def close(self) -> None:
        pass


class PlanarAdapter:
    """The one view for both of π0's cameras; the state (8,) is the point (2), zeros (4) and the target (2)."""

    cameras = CAMERAS
    state_dim, action_dim = 8, 7

    def __init__(self, norm_stats: NormStats, delta_actions: bool):
        self.norm_stats, self.delta_actions = norm_stats, delta_actions

    def observe(self, raw: Observation, prompt: str) -> dict[str, Any]:
        state = self.norm_stats.state.normalize(self.raw_state(raw))
        return {"image": dict.fromkeys(CAMERAS, raw["view"]), "state": state, "prompt": prompt}

    def raw_state(self, raw: Observation) -> np.ndarray:
        return np.concatenate([raw["point"], np.zeros(4), raw["target"]])

    def to_env(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        return actions_to_env(chunk, self.norm_stats, state if self.delta_actions else None)

    def to_labels(self, actions: np.ndarray, state: np.ndarray) -> np.ndarray:
        return actions_to_labels(actions, self.norm_stats, state if self.delta_actions else None)


class PlanarBenchmark:
    """Two tasks; evaluation states on a grid around the origin."""

    name = "planar"
    max_episode_length = 50
    num_steps_wait = 10

    def get_task_names(self) -> list[str]:
        return list(TASKS)

    def get_task_id(self, task_name: str) -> int:
        one_of("task", task_name, TASKS)
        return TASKS.index(task_name)

    def get_language(self, task_id: int) -> str:
        if task_id >= len(TASKS):
            raise ValueError(f"task id {task_id} of planar is not in 0..{len(TASKS) - 1}")
        return TASKS[task_id].replace("_", " ")

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        grid = np.linspace(-0.05, 0.05, 5)
        return np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)


class PlanarSimulator:
    """The plane: a `Simulator`."""

    benchmark = PlanarBenchmark()
    packages = ("numpy",)

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: Any = None
    ) -> PlanarVecEnv:
        return PlanarVecEnv(task_id, num_envs)

    def make_adapter(self, norm_stats: NormStats, delta_actions: bool) -> PlanarAdapter:
        return PlanarAdapter(norm_stats, delta_actions)


class PlanarRunner(Runner):
    """The runner with the plane put in."""

    def __init__(self, benchmark_name: str = "planar", **options: Any):
        super().__init__(PlanarSimulator(), **options)


def planar_runner(**options: Any) -> PlanarRunner:
    return PlanarRunner(**{"num_parallel_envs": 16, "image_size": IMAGE_SIZE, "rollouts_per_env": 25, **options})


def write_tiny_policy(folder: Path, condition_mode: str = "concat", **network: Any) -> Path:
    """A policy folder of the default's format with a network of some 100 000 parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"image_size": IMAGE_SIZE, "patch_size": 14, "width": 32, "depth": 2, "vision_depth": 1}
    architecture = small_pi0_config(**{**sizes, **network})
    card = PolicyCard.for_foreign(architecture.kind, condition_mode)
    save_model(folder, Pi0FlowModel(architecture, condition_mode), replace(card, delta_actions=False))
    (folder / "tokenizer.json").write_bytes((DEFAULT_FOLDER / "tokenizer.json").read_bytes())
    (folder / "norm_stats.json").write_text(
        json.dumps({"norm_stats": {"state": _spread(8, 0.3), "actions": _spread(7, 0.5)}})
    )
    return folder


def tiny_policy(
    folder: Path, condition_mode: str = "concat", chunk_size: int = 50, kind: str = "pi0", **options: Any
) -> PI0_OFT_Policy:
    path = write_tiny_policy(folder, condition_mode, chunk_size=chunk_size, kind=kind)
    return PI0_OFT_Policy(pretrained_path=str(path), condition_mode=condition_mode, **options)


def _spread(width: int, std: float) -> dict[str, list[float]]:
    return {"mean": [0.0] * width, "std": [std] * width, "q01": [-2 * std] * width, "q99": [2 * std] * width}
