"""A point that must reach a target in the plane, behind the real runner's interface.

It speaks LIBERO's observation keys and takes LIBERO's 7-vectors, so that adapter, runner, rollout generator and
optimizer are the real ones; only the physics is small enough for a test.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ript.algos.policies.pi0_oft_policy import DEFAULT_FOLDER, PI0_OFT_Policy
from ript.checks import one_of
from ript.env_runner.pi0_libero_runner import Pi0LiberoRunner
from ript.env_runner.vec_env import ChunkResult, Observation, StartOfEpisode
from ript.models.pi0.checkpoint import save_model
from ript.models.pi0.config import small_pi0_config
from ript.models.pi0.modeling import Pi0FlowModel
from ript.models.pi0.policy_card import PolicyCard

TASKS = ("reach_the_right", "reach_the_top")
TARGETS = np.array([[0.8, 0.0], [0.0, 0.8]])
RADIUS = 0.25
SPEED = 0.1
IMAGE_SIZE = 28


class PlanarEnv:
    """The point starts near the origin; each step moves it by at most `SPEED` along x and y."""

    def __init__(self, task_id: int):
        self.load_task(task_id)

    def load_task(self, task_id: int) -> None:
        self.target = TARGETS[task_id]
        self.position = np.zeros(2)

    def reset(self, scene_seed: int, init_state: np.ndarray | None = None, num_steps_wait: int = 10) -> StartOfEpisode:
        drawn = np.random.default_rng(scene_seed).uniform(-0.05, 0.05, 2)
        self.position = drawn if init_state is None else np.array(init_state, np.float64)
        scene = hashlib.sha256(self.position.tobytes() + self.target.tobytes()).hexdigest()
        return StartOfEpisode(self._observation(), self.position.copy(), scene)

    def step_chunk(
        self,
        actions: np.ndarray,
        observe_every: int | None = None,
        observe_last: bool = True,
        frame_every: int | None = None,
        frame_size: int | None = None,
    ) -> ChunkResult:
        seen: dict[int, Observation] = {}
        rewards = []
        for executed, action in enumerate(actions, start=1):
            self.position = self.position + SPEED * np.clip(action[:2], -1, 1)
            reached = bool(np.linalg.norm(self.position - self.target) < RADIUS)
            rewards.append(float(reached))
            due = observe_every is not None and executed % observe_every == 0
            if observe_last if executed == len(actions) else due:
                seen[executed] = self._observation()
            if reached:
                break
        return ChunkResult(np.array(rewards), len(rewards), bool(rewards[-1]), seen, [])

    def _observation(self) -> Observation:
        image = np.zeros((IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
        for point, channel in ((self.position, 0), (self.target, 1)):
            row, column = np.clip(((point + 1) / 2 * IMAGE_SIZE).astype(int), 0, IMAGE_SIZE - 1)
            image[row, column, channel] = 255
        return {
            "agentview_image": image,
            "robot0_eye_in_hand_image": image,
            "robot0_eef_pos": np.array([*self.position, 0.0]),
            "robot0_eef_quat": np.array([0.0, 0.0, 0.0, 1.0]),
            "robot0_gripper_qpos": self.target,
        }


def _call(method: Callable[..., Any], request: Mapping[str, Any] | tuple[Any, ...] | None) -> Any:
    if request is None:
        return None
    return method(**request) if isinstance(request, Mapping) else method(*request)


class PlanarPool:
    """What `EnvPool` does, in this process."""

    def __init__(self, task_id: int, num_envs: int):
        self.envs = [PlanarEnv(task_id) for _ in range(num_envs)]
        self.num_envs = num_envs

    def reset(self, requests: Sequence[Mapping[str, Any] | None]) -> list[Any]:
        return self.call("reset", requests)

    def step_chunk(self, requests: Sequence[Mapping[str, Any] | None]) -> list[Any]:
        return self.call("step_chunk", requests)

    def call(self, method: str, requests: Sequence[Mapping[str, Any] | tuple[Any, ...] | None]) -> list[Any]:
        return [_call(getattr(env, method), request) for env, request in zip(self.envs, requests, strict=True)]

    def close(self) -> None:
        pass


class PlanarBenchmark:
    """Two tasks; evaluation states on a grid around the origin."""

    name = "planar"
    max_episode_length = 50

    def get_task_names(self) -> list[str]:
        return list(TASKS)

    def get_task_id(self, task_name: str) -> int:
        one_of("task", task_name, TASKS)
        return TASKS.index(task_name)

    def get_language(self, task_id: int) -> str:
        return TASKS[task_id].replace("_", " ")

    def get_task_init_states(self, task_id: int) -> np.ndarray:
        grid = np.linspace(-0.05, 0.05, 5)
        return np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)


class PlanarRunner(Pi0LiberoRunner):
    """The real runner on the plane."""

    def make_benchmark(self, name: str) -> PlanarBenchmark:
        return PlanarBenchmark()

    def make_pool(self, task_id: int) -> PlanarPool:
        return PlanarPool(task_id, self.num_parallel_envs)


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
