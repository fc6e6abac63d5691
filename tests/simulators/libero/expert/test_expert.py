"""On the real simulator, by state alone."""

import itertools

import numpy as np
import pytest

from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv
from ript.simulators.libero.expert.expert import expert_actions
from ript.simulators.libero.expert.scene import Predicate, Scene

SCENE_SEED = 3_500_000_001


@pytest.mark.parametrize(
    ("suite", "task_id"),
    [
        pytest.param("libero_object", 0, id="into a basket"),
        pytest.param("libero_goal", 0, id="open a drawer"),
        pytest.param("libero_goal", 7, id="turn a knob"),
        pytest.param("libero_spatial", 9, id="from a cabinet"),
    ],
)
def test_the_expert_solves(suite, task_id):
    env = LiberoEnv(suite, task_id, render_images=False)
    env.reset(SCENE_SEED)
    limit = LiberoBenchmark(suite).max_episode_length
    solved = False
    for action in itertools.islice(expert_actions(env.simulator), limit):
        assert action.shape == (7,) and np.isfinite(action).all()
        solved = env.step_chunk(np.clip(action, -1, 1)[None]).success
        if solved:
            break
    env.close()
    assert solved


def test_a_goal_nobody_can_reach_is_named(monkeypatch):
    monkeypatch.setattr(Scene, "__init__", lambda self, simulator: None)
    monkeypatch.setattr(Scene, "goal", [Predicate("up", "plate_1", None)])
    with pytest.raises(NotImplementedError, match="no skill for up"):
        next(expert_actions(None))


def test_objects_on_fixtures_are_drawn_where_a_hard_reset_draws_them():
    from libero.libero.envs.env_wrapper import ControlEnv

    env = LiberoEnv("libero_spatial", 9, render_images=False)  # the bowl stands on the cabinet
    env.reset(1)
    drawn = env.reset(2, num_steps_wait=0).init_state
    env.close()
    bddl_file = LiberoBenchmark("libero_spatial").get_bddl_file(9)
    stock = ControlEnv(bddl_file_name=bddl_file, use_camera_obs=False, has_offscreen_renderer=False)
    stock.seed(2)
    stock.reset()
    but_the_arm = np.r_[0, 8 : len(drawn)]  # the time, then seven joints, which stock LIBERO leaves at rest
    np.testing.assert_array_equal(drawn[but_the_arm], stock.get_sim_state()[but_the_arm])
    stock.close()
