"""The compiled control step and the one in Python, against LIBERO's own environment and against each other."""

import subprocess
import sys

import numba
import numpy as np
import pytest

from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.control_env import make_control_env
from ript.simulators.libero.env import PROPRIOCEPTION, LiberoEnv
from ript.simulators.libero.layout import draw_layout


def held_actions(steps: int, seed: int) -> np.ndarray:
    """Commands that are kept for eight steps each, so that the arm goes somewhere; the gripper opens and closes."""
    drawn = np.random.default_rng(seed).normal(size=(-(-steps // 8), 7))
    return np.clip(np.repeat(drawn, 8, axis=0), -1, 1)[:steps]


def in_python(suite: str, task: int) -> LiberoEnv:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        return LiberoEnv(suite, task, render_images=False)


def is_compiled(env: LiberoEnv) -> bool:
    return type(env._control_step).__name__ == "CompiledControlStep"


class Stock:
    """LIBERO's own environment, stepped as it is."""

    def __init__(self, suite: str, task: int) -> None:
        self._env = make_control_env(LiberoBenchmark(suite).get_bddl_file(task), 64, render_images=False)

    def reset(self, scene_seed: int, state: np.ndarray) -> None:
        draw_layout(self._env.env, scene_seed)
        self._env.set_init_state(state)

    def step(self, action: np.ndarray) -> tuple:
        raw, reward, success, _ = self._env.step(action)
        return reward, success, {name: raw[name] for name in PROPRIOCEPTION}, *physical_state(self._env.env)

    def close(self) -> None:
        self._env.close()


def physical_state(simulator) -> tuple[np.ndarray, ...]:
    """Everything that a control step leaves behind."""
    data, robot = simulator.sim.data, simulator.robots[0]
    arrays = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl, data.sensordata, data.site_xpos, robot.torques)
    return tuple(np.array(array) for array in (*arrays, robot.gripper.current_action))


def assert_same_steps(env: LiberoEnv, stock: Stock, actions: np.ndarray) -> None:
    """Chunks of three, five and seven actions, observed at the end, against single steps."""
    done, sizes = 0, [3, 5, 7]
    while done < len(actions):
        chunk = actions[done : done + sizes[done % 3]]
        expected = [stock.step(action) for action in chunk]
        result = env.step_chunk(chunk)
        done += len(chunk)
        rewards, successes, observed, *state = zip(*expected, strict=True)
        assert result.executed == len(chunk) and result.success == successes[-1]
        np.testing.assert_array_equal(result.rewards, rewards)
        for name, value in result.observations[len(chunk)].items():
            np.testing.assert_array_equal(value, observed[-1][name], err_msg=name)
        for ours, theirs in zip(physical_state(env.simulator), state, strict=True):
            np.testing.assert_array_equal(ours, theirs[-1])


def compare_with_stock(env: LiberoEnv, suite: str, task: int, episodes: int, steps: int) -> None:
    stock = Stock(suite, task)
    for seed in range(episodes):
        state = env.reset(seed, num_steps_wait=0).init_state
        stock.reset(seed, state)
        assert_same_steps(env, stock, held_actions(steps, seed))
    stock.close()


def test_states_torques_sensors_and_proprioception_are_those_of_stock_libero_over_tasks_and_resets():
    env = LiberoEnv("libero_goal", 7, render_images=False)  # a stove, a cabinet and a rack
    assert is_compiled(env)
    compare_with_stock(env, "libero_goal", 7, episodes=2, steps=75)
    env.load_task(0)
    compare_with_stock(env, "libero_goal", 0, episodes=1, steps=45)
    env.close()


FALLING = """
<mujoco><option cone="elliptic" iterations="3"/><worldbody><geom type="plane" size="1 1 1"/>
<body pos="0 0 0.1" euler="20 10 0"><freejoint/><geom type="box" size="0.1 0.05 0.02"/></body></worldbody></mujoco>
"""


def test_forward_passes_between_steps_leave_no_trace_so_that_they_may_be_left_out():
    import mujoco

    model = mujoco.MjModel.from_xml_string(FALLING)
    often, once, kept = (mujoco.MjData(model) for _ in range(3))
    for _ in range(200):
        mujoco.mj_forward(model, often)
        mujoco.mj_forward(model, often)
        mujoco.mj_step(model, often)
        mujoco.mj_step1(model, once)
        mujoco.mj_step2(model, once)
        mujoco.mj_forward(model, kept)
        kept.qacc_warmstart[:] = kept.qacc  # what a pass did before MuJoCo 3.3.6
        mujoco.mj_step(model, kept)
    for name in ("qpos", "qvel", "qacc", "qacc_warmstart"):
        np.testing.assert_array_equal(getattr(often, name), getattr(once, name))
    assert not np.array_equal(kept.qpos, once.qpos)


def test_where_numba_may_not_compile_a_step_runs_in_python_says_so_and_is_the_same(caplog):
    compiled = LiberoEnv("libero_object", 2, render_images=False)
    python = in_python("libero_object", 2)
    assert "NUMBA_DISABLE_JIT is set" in caplog.text
    assert is_compiled(compiled) and not is_compiled(python)
    for env in (compiled, python):
        env.reset(3)
        env.step_chunk(held_actions(30, 3))
    for ours, theirs in zip(physical_state(compiled.simulator), physical_state(python.simulator), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    compiled.close()
    python.close()


@pytest.mark.parametrize("change", ["controller.uncoupling", "controller.interpolator_pos", "gripper"])
def test_another_controller_or_gripper_than_the_compiled_one_runs_in_python(change, monkeypatch):
    from types import SimpleNamespace

    from robosuite.controllers.osc import OperationalSpaceController
    from robosuite.models.grippers import PandaGripper

    from ript.simulators.libero.fastest_step import obstacle_to_compiling

    controller = object.__new__(OperationalSpaceController)
    controller.uncoupling, controller.interpolator_pos, controller.interpolator_ori = True, None, None
    robot = SimpleNamespace(controller=controller, gripper=object.__new__(PandaGripper))
    simulator = SimpleNamespace(robots=[robot])
    assert obstacle_to_compiling(simulator) == ""
    holder, _, name = f"robot.{change}".rpartition(".")
    target = robot if holder == "robot" else controller
    monkeypatch.setattr(target, name, None if name == "uncoupling" else object())
    assert "Panda" in obstacle_to_compiling(simulator)


def test_objects_touch_when_robosuite_says_so():
    from robosuite.environments.base import MujocoEnv

    env = LiberoEnv("libero_spatial", 5, render_images=False)
    env.reset(0)
    simulator = env.simulator
    models = [*simulator.objects, *simulator.fixtures, simulator.robots[0].gripper]
    groups = [*models, models[0].contact_geoms, "table_collision", ["no such geom"]]
    asked = [(one, other) for one in groups for other in [*groups, None]]
    told = [simulator.check_contact(*pair) for pair in asked]
    assert told == [MujocoEnv.check_contact(simulator, *pair) for pair in asked]
    assert 0 < sum(told) < len(told)
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "task"),
    [
        ("libero_spatial", 5),
        ("libero_object", 0),
        ("libero_goal", 2),
        ("libero_10", 3),
        ("libero_10", 8),
        ("libero_90", 40),
    ],
)
def test_long_episodes_are_those_of_stock_libero(suite, task):
    env = LiberoEnv(suite, task, render_images=False)
    compare_with_stock(env, suite, task, episodes=3, steps=250)
    env.close()


@pytest.mark.slow
def test_what_the_expert_does_is_the_same_in_stock_libero():
    """Grasps, lifts and puts down: the commands of a demonstration, played again."""
    from ript.simulators.libero.expert.expert import expert_actions

    suite, task = "libero_spatial", 1
    env, stock = LiberoEnv(suite, task, render_images=False), Stock(suite, task)
    state = env.reset(0, num_steps_wait=0).init_state
    commands = []
    for command in expert_actions(env.simulator):
        commands.append(np.clip(command, -1, 1))
        if env.step_chunk(commands[-1][None]).success:
            break
    assert 50 < len(commands) < 220
    end = physical_state(env.simulator)
    stock.reset(0, state)
    outcomes = [stock.step(command) for command in commands]
    assert [success for _, success, *_ in outcomes] == [False] * (len(commands) - 1) + [True]
    for ours, theirs in zip(end, outcomes[-1][3:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    env.close()
    stock.close()


COMPILE = """
import numpy as np
from ript.simulators.libero.physics_loop import Arm, run_physics
arrays = {name: np.zeros(1) for name in Arm._fields}
arrays |= {name: np.zeros(1, int) for name in ("positions", "velocities", "motors", "fingers")}
arrays |= {name: np.zeros((1, 1)) for name in ("site_xpos", "site_xmat", "goal_rotation")}
run_physics(0, 0, Arm(**(arrays | {"site": 0, "qM": 0})), 0, True)
hits, misses = (sum(counts.values()) for counts in run_physics.stats[1:])
print(hits, misses)
"""


@pytest.mark.slow
def test_processes_that_compile_at_the_same_time_all_can_and_the_next_finds_it_done(tmp_path):
    import os

    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}

    def start():
        return subprocess.Popen([sys.executable, "-c", COMPILE], env=environment, stdout=subprocess.PIPE, text=True)

    together = [start() for _ in range(4)]
    assert [process.communicate()[0].split() for process in together] == [["0", "1"]] * 4
    assert start().communicate()[0].split() == ["1", "0"]
