"""The scene an episode starts in: drawn from the regions of the task's BDDL file, told from others by its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

ARM_NOISE = 0.02
"""Standard deviation in rad of each arm joint around its rest position in a drawn layout: robosuite's default, and
what the benchmark's initial states were made with. LIBERO's environments draw layouts without it."""

_MAX_PLACEMENT_TRIES = 100

_T = TypeVar("_T")


def draw_layout(simulator: Any, scene_seed: int) -> np.ndarray:
    """Place fixtures and objects anew. Returns the flattened state `(D,)` float64 to start from.

    Fixtures stand where they were drawn afterwards; the state still has to be set, for its arm noise.
    """
    simulator.seed(scene_seed)
    put_fixtures_back(simulator)
    # Not ControlEnv.reset: its retry loop swallows every exception, even KeyboardInterrupt.
    until_placed(simulator.reset)
    # A soft reset keeps the gripper's integrated command, a fresh model starts at zero.
    robot = simulator.robots[0]
    robot.gripper.current_action = np.zeros_like(robot.gripper.current_action)
    state = flattened_state(simulator)
    joints = 1 + np.array(robot._ref_joint_pos_indexes)  # after the time
    state[joints] += np.random.default_rng(scene_seed).normal(0, ARM_NOISE, len(joints))
    return state


def flattened_state(simulator: Any) -> np.ndarray:
    """The state `(D,)` float64 now: time, joint positions, joint velocities."""
    return np.array(simulator.sim.get_state().flatten(), dtype=np.float64)


def until_placed(draw: Callable[[], _T]) -> _T:
    """Call `draw` until LIBERO's rejection sampling finds a layout without collisions, as LIBERO does."""
    from robosuite.utils.errors import RandomizationError

    for _ in range(_MAX_PLACEMENT_TRIES - 1):
        try:
            return draw()
        except RandomizationError:
            continue
    return draw()


def put_fixtures_back(simulator: Any) -> None:
    """Stand the fixtures where the model's XML has them, as a hard reset does.

    A reset draws new places for them and writes them into the model. It also places objects on fixtures relative to
    where their regions are at that moment, which is right only for fixtures that were not moved yet.
    """
    model = simulator.sim.model
    for fixture in simulator.fixtures:
        body = simulator.model.worldbody.find(f".//body[@name='{fixture.root_body}']")
        index = model.body_name2id(fixture.root_body)
        model.body_pos[index] = [float(x) for x in body.get("pos", "0 0 0").split()]
        model.body_quat[index] = [float(x) for x in body.get("quat", "1 0 0 0").split()]


def scene_hash(simulator: Any, state: np.ndarray) -> str:
    """SHA-256 (hex) of where the model's bodies stand and of what `state` they are in."""
    # A reset moves bodies of the model; geoms tell scenes of different assets apart.
    model = simulator.sim.model
    digest = hashlib.sha256()
    for array in (model.body_pos, model.body_quat, model.geom_pos, model.geom_quat, model.geom_size, state):
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()
