"""All on the real simulator. Reference: LIBERO stepped the stock way, with hard resets and every step rendered."""

import subprocess
import sys

import numpy as np
import pytest

from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import AGENTVIEW, CAMERAS, PROPRIOCEPTION, LiberoEnv
from ript.simulators.rendering import configure_rendering

SUITE, TASK = "libero_spatial", 5  # the bowl stands on a ramekin
SIZE = 64
SEED = 7
STEPS = 30
DUMMY = [0.0] * 6 + [-1.0]


def random_actions(steps, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(-1, 1, (steps, 6)), np.sign(rng.uniform(-1, 1, (steps, 1)))], axis=1)


def assert_same_observation(ours, stock):
    for name in ours:
        np.testing.assert_array_equal(ours[name], np.asarray(stock[name]), err_msg=name)


@pytest.fixture(scope="module")
def init_states():
    return LiberoBenchmark(SUITE).get_task_init_states(TASK)


@pytest.fixture(scope="module")
def stock_episodes(init_states):
    """Two episodes of LIBERO's own environment: (observation after waiting, [(state, observation, reward)])."""
    configure_rendering()
    from libero.libero.envs.env_wrapper import OffScreenRenderEnv

    bddl_file = LiberoBenchmark(SUITE).get_bddl_file(TASK)
    env = OffScreenRenderEnv(bddl_file_name=bddl_file, camera_heights=SIZE, camera_widths=SIZE)
    episodes = []
    for episode in range(2):
        env.seed(SEED + episode)
        env.reset()
        env.set_init_state(init_states[episode])
        for _ in range(10):
            start, *_ = env.step(DUMMY)
        steps = []
        for action in random_actions(STEPS, seed=episode):
            observation, reward, _, _ = env.step(action)
            steps.append((env.get_sim_state(), observation, reward))
        episodes.append((start, steps))
    env.close()
    return episodes


@pytest.fixture(scope="module")
def env(stock_episodes):
    # After the stock environment is closed: stock code renders into whichever context is current.
    env = LiberoEnv(SUITE, TASK, image_size=SIZE)
    yield env
    env.close()


@pytest.fixture(scope="module")
def blind_env():
    env = LiberoEnv(SUITE, TASK, render_images=False)
    yield env
    env.close()


def test_two_episodes_in_chunks_are_byte_equal_to_stock_libero(env, stock_episodes, init_states):
    for episode, (stock_start, stock_steps) in enumerate(stock_episodes):
        start = env.reset(SEED + episode, init_states[episode])
        assert list(start.observation) == [*CAMERAS, *PROPRIOCEPTION]
        assert_same_observation(start.observation, stock_start)
        done = 0
        for actions in np.split(random_actions(STEPS, seed=episode), [12, 13, 25]):
            chunk = env.step_chunk(actions, observe_every=10)
            for step, observation in chunk.observations.items():
                assert_same_observation(observation, stock_steps[done + step - 1][1])
            done += chunk.executed
            np.testing.assert_array_equal(env.get_state(), stock_steps[done - 1][0])
            np.testing.assert_array_equal(
                chunk.rewards, [reward for _, _, reward in stock_steps[done - chunk.executed : done]]
            )
        assert done == STEPS


def test_a_start_played_again_is_not_drawn_again_and_looks_the_same(env, init_states, monkeypatch):
    first = env.reset(SEED, init_states[0]).observation
    env.step_chunk(random_actions(5), observe_last=False)
    with monkeypatch.context() as patch:
        patch.setattr(env.simulator.sim, "render", lambda **_: pytest.fail("drawn again"))
        again = env.reset(SEED, init_states[0]).observation
    assert_same_observation(again, first)
    assert not np.array_equal(env.reset(SEED + 1, init_states[1]).observation[AGENTVIEW], first[AGENTVIEW])
    assert_same_observation(env.reset(SEED, init_states[0]).observation, first)


def test_an_environment_that_loads_another_task_is_one_made_for_that_task(env, init_states):
    with pytest.raises(ValueError, match="99"):
        env.load_task(99)
    expected = env.reset(SEED, init_states[0])
    env.load_task(TASK + 1)
    other = env.reset(SEED)
    assert other.init_hash != expected.init_hash
    env.load_task(TASK)
    again = env.reset(SEED, init_states[0])
    assert again.init_hash == expected.init_hash
    assert_same_observation(again.observation, expected.observation)


def test_fast_images_are_close_to_exact_ones_and_the_trajectory_is_the_same(env, init_states):
    fast = LiberoEnv(SUITE, TASK, image_size=SIZE, render="fast")
    for seed in range(2):  # a reset keeps it so
        exact = env.reset(SEED + seed, init_states[seed]).observation
        drawn = fast.reset(SEED + seed, init_states[seed]).observation
        for name in CAMERAS:
            difference = np.abs(exact[name].astype(int) - drawn[name].astype(int))
            assert 0.2 < difference.mean() < 4, f"{name}: {difference.mean():.2f} of 255"
        for member in (env, fast):
            member.step_chunk(random_actions(5), observe_last=False)
        np.testing.assert_array_equal(env.get_state(), fast.get_state())
    fast.load_task(TASK + 1)
    flags = fast.simulator.sim._render_context_offscreen.scn.flags
    import mujoco

    assert flags[mujoco.mjtRndFlag.mjRND_REFLECTION] == 0
    fast.close()
    with pytest.raises(ValueError, match=r"render='fsat' is not valid; did you mean fast"):
        LiberoEnv(SUITE, TASK, render="fsat")


def test_without_images_there_is_no_opengl_context_and_the_trajectory_is_the_same(
    blind_env, stock_episodes, init_states
):
    assert blind_env.simulator.sim._render_context_offscreen is None
    start = blind_env.reset(SEED, init_states[0])
    assert list(start.observation) == list(PROPRIOCEPTION)
    chunk = blind_env.step_chunk(random_actions(STEPS, seed=0))
    stock_state, stock_observation, _ = stock_episodes[0][1][-1]
    np.testing.assert_array_equal(blind_env.get_state(), stock_state)
    assert_same_observation(chunk.observations[STEPS], stock_observation)
    with pytest.raises(RuntimeError, match="render_images=False"):
        blind_env.render(64)
    with pytest.raises(ValueError, match="render_images=False"):
        blind_env.step_chunk(random_actions(1), frame_every=1)


def test_the_scene_hash_is_equal_for_the_same_scene_only(blind_env, init_states):
    def scene(seed, state):
        return blind_env.reset(seed, state, num_steps_wait=0).init_hash

    reference = scene(3, init_states[0])
    assert len(reference) == 64
    assert scene(4, init_states[0]) != reference  # the same state, but the cabinet stands elsewhere
    assert scene(3, init_states[1]) != reference
    blind_env.step_chunk(random_actions(5))
    assert scene(3, init_states[0]) == reference


def test_members_of_a_group_start_in_the_same_scene_down_to_the_last_byte_of_the_model(env, blind_env, init_states):
    """Every array of the compiled model and the whole state, across episodes and environments."""
    import mujoco

    def scene(member, seed):
        member.reset(seed, init_states[2], num_steps_wait=0)
        model = member.simulator.sim.model._model
        image = np.zeros(mujoco.mj_sizeModel(model), np.uint8)
        mujoco.mj_saveModel(model, None, image)
        start = image.tobytes() + member.get_state().tobytes()
        member.step_chunk(random_actions(5, seed))
        return start

    reference = scene(blind_env, 3)
    assert scene(blind_env, 8) != reference
    assert scene(blind_env, 3) == reference
    assert scene(env, 3) == reference


def test_a_layout_drawn_from_a_seed_is_reproduced_by_the_seed_and_by_its_state(blind_env):
    def episode(state):
        start = blind_env.reset(21, state)
        blind_env.step_chunk(random_actions(15))
        return start, blind_env.get_state()

    drawn, after_drawn = episode(None)
    again, after_again = episode(None)
    restored, after_restored = episode(drawn.init_state)
    assert drawn.init_hash == again.init_hash == restored.init_hash
    np.testing.assert_array_equal(after_drawn, after_again)
    np.testing.assert_array_equal(after_drawn, after_restored)
    other = blind_env.reset(22)
    assert np.abs(other.init_state - drawn.init_state).max() > 1e-3


def test_the_arm_of_a_drawn_layout_is_as_far_off_its_rest_position_as_in_the_benchmark_s_states(blind_env, init_states):
    drawn = np.array([blind_env.reset(seed, num_steps_wait=0).init_state for seed in range(50)])
    arm = slice(1, 8)  # after the time
    rest = blind_env.simulator.robots[0].init_qpos
    for states in (drawn[:, arm], init_states[:, arm]):
        np.testing.assert_allclose(states.mean(axis=0), rest, atol=0.01)
        np.testing.assert_allclose(np.std(states - rest), 0.02, rtol=0.15)
    np.testing.assert_allclose(drawn[:, 8:10], init_states[:, 8:10], atol=1e-6)  # the fingers are not touched


def test_the_start_state_is_the_one_given_not_the_settled_one(blind_env, init_states):
    start = blind_env.reset(SEED, init_states[2])
    np.testing.assert_array_equal(start.init_state, init_states[2])
    assert not np.array_equal(blind_env.get_state(), init_states[2])


def test_without_waiting_the_first_observation_shows_the_initial_state(env, init_states):
    start = env.reset(SEED, init_states[2], num_steps_wait=0)
    np.testing.assert_array_equal(env.get_state(), init_states[2])
    assert start.observation[AGENTVIEW].std() > 10


def test_after_settling_the_bowl_stays_on_the_ramekin(blind_env, init_states):
    for state in init_states[:3]:
        blind_env.reset(0, state)
        blind_env.step_chunk(np.tile(DUMMY, (50, 1)))
        sim = blind_env.simulator.sim
        body = sim.model.body_name2id("akita_black_bowl_1_main")
        tilt = np.degrees(np.arccos(np.clip(sim.data.body_xmat[body].reshape(3, 3)[2, 2], -1, 1)))
        assert tilt < 25


def test_the_simulator_s_horizon_never_cuts_an_episode(blind_env, monkeypatch):
    monkeypatch.setattr(blind_env.simulator, "horizon", 12)
    blind_env.reset(SEED)
    chunk = blind_env.step_chunk(np.tile(DUMMY, (10, 1)))
    assert chunk.executed == 10 and not chunk.success
    assert blind_env.step_chunk(np.tile(DUMMY, (10, 1))).executed == 10


def solve(env):
    """Put the bowl on the plate, where it drops and touches it within a few steps."""
    sim = env.simulator.sim
    plate = sim.data.body_xpos[sim.model.body_name2id("plate_1_main")]
    sim.data.set_joint_qpos("akita_black_bowl_1_joint0", [plate[0], plate[1], plate[2] + 0.05, 1, 0, 0, 0])


def test_success_ends_the_chunk_and_the_episode(blind_env):
    blind_env.reset(SEED)
    solve(blind_env)
    chunk = blind_env.step_chunk(np.tile(DUMMY, (50, 1)))
    assert chunk.success and 0 < chunk.executed < 50
    assert chunk.rewards.tolist() == [0.0] * (chunk.executed - 1) + [1.0]
    assert chunk.observations == {}
    with pytest.raises(RuntimeError, match="after success"):
        blind_env.step_chunk(random_actions(1))
    blind_env.reset(SEED)
    assert not blind_env.step_chunk(random_actions(1)).success


def test_observations_come_at_the_steps_asked_for(env):
    env.reset(SEED)
    assert list(env.step_chunk(random_actions(5)).observations) == [5]
    assert list(env.step_chunk(random_actions(5), observe_every=2).observations) == [2, 4, 5]
    assert list(env.step_chunk(random_actions(5), observe_every=2, observe_last=False).observations) == [2, 4]


def test_frames_are_upright_and_counted_from_the_start_of_the_episode(env):
    env.reset(SEED)
    first = env.step_chunk(random_actions(3), observe_every=2, frame_every=2)
    np.testing.assert_array_equal(first.frames, [first.observations[2][AGENTVIEW][::-1, ::-1]])
    second = env.step_chunk(random_actions(5), frame_every=2)
    assert len(second.frames) == 3  # steps 4, 6 and 8
    large = env.step_chunk(random_actions(2), frame_every=2, frame_size=500)
    assert [frame.shape for frame in large.frames] == [(500, 500, 3)]
    np.testing.assert_array_equal(large.frames[-1], env.render(500))


def test_a_rendered_frame_does_not_change_the_episode(env, init_states):
    def episode(**frames):
        env.reset(SEED, init_states[0])
        return env.step_chunk(random_actions(6), **frames).observations[6]

    plain = episode()
    assert_same_observation(episode(frame_every=2), plain)
    assert_same_observation(episode(frame_every=2, frame_size=96), plain)


def test_two_environments_in_one_process_do_not_draw_into_each_other(env, init_states):
    before = env.reset(SEED, init_states[0]).observation
    other = LiberoEnv("libero_object", 0, image_size=48)
    shown = other.reset(SEED).observation
    assert_same_observation(env.reset(SEED, init_states[0]).observation, before)
    assert_same_observation(other.reset(SEED).observation, shown)
    other.close()
    assert_same_observation(env.reset(SEED, init_states[0]).observation, before)


@pytest.mark.parametrize(
    "actions",
    [
        np.full((2, 7), np.nan),
        np.r_[random_actions(3), [[0, 0, 0, np.inf, 0, 0, 0]]],
        np.zeros((2, 6)),
        np.zeros(7),
        np.zeros((0, 7)),
    ],
    ids=["nan", "inf in the last row", "width 6", "one row without its axis", "none"],
)
def test_a_bad_action_never_reaches_the_simulator(blind_env, actions):
    blind_env.reset(SEED)
    before = blind_env.get_state()
    with pytest.raises(ValueError, match="actions"):
        blind_env.step_chunk(actions)
    np.testing.assert_array_equal(blind_env.get_state(), before)
    assert blind_env.step_chunk(random_actions(1)).executed == 1


@pytest.mark.parametrize("interval", ["observe_every", "frame_every"])
def test_an_interval_below_one_is_rejected(env, interval):
    env.reset(SEED)
    with pytest.raises(ValueError, match=f"{interval} must be at least 1"):
        env.step_chunk(random_actions(1), **{interval: 0})


def test_a_bad_reset_is_rejected_and_names_the_task(blind_env, init_states):
    with pytest.raises(ValueError, match=r"libero_spatial task 5 .*\(92,\), got \(91,\)"):
        blind_env.reset(SEED, init_states[0][:-1])
    with pytest.raises(ValueError, match=r"libero_spatial task 5 .*NaN"):
        blind_env.reset(SEED, np.full_like(init_states[0], np.nan))
    with pytest.raises(ValueError, match="negative"):
        blind_env.reset(-1)
    with pytest.raises(ValueError, match="negative"):
        blind_env.reset(SEED, num_steps_wait=-1)


def test_an_error_in_a_reset_is_raised_and_ends_the_episode(blind_env, monkeypatch):
    # LIBERO's own wrapper would retry for ever.
    def fail():
        raise KeyError("no such joint")

    blind_env.reset(SEED)
    with monkeypatch.context() as patch:
        patch.setattr(blind_env.simulator, "reset", fail)
        with pytest.raises(KeyError, match="no such joint"):
            blind_env.reset(SEED)
    with pytest.raises(RuntimeError, match="reset that failed"):
        blind_env.step_chunk(random_actions(1))


def test_layouts_are_drawn_again_until_objects_do_not_collide(blind_env, monkeypatch):
    from robosuite.utils.errors import RandomizationError

    reset = blind_env.simulator.reset
    outcomes = iter([RandomizationError, RandomizationError, None])

    def sometimes_fail():
        if (error := next(outcomes)) is not None:
            raise error("cannot place all objects")
        return reset()

    monkeypatch.setattr(blind_env.simulator, "reset", sometimes_fail)
    blind_env.reset(SEED)
    assert next(outcomes, "used up") == "used up"


def test_life_of_an_environment_makes_no_noise_and_closing_twice_is_fine():
    code = """
import numpy as np
from ript.simulators.libero.env import LiberoEnv
env = LiberoEnv("libero_goal", 7, image_size=32)
try:
    env.step_chunk(np.zeros((1, 7)))
except RuntimeError as error:
    assert "before the first reset" in str(error)
env.reset(0, num_steps_wait=1)
env.close()
env.close()
for use in (lambda: env.reset(0), lambda: env.step_chunk(np.zeros((1, 7))), lambda: env.render(8)):
    try:
        use()
    except RuntimeError as error:
        assert "closed" in str(error)
    else:
        raise AssertionError
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == result.stderr == ""
