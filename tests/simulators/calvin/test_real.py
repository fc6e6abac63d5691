"""On the real CALVIN, where a user installed it: exactness, pictures, the oracle, the whole way of a policy."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import table
from table import ACTIONS, SUITE, task_id

table.need_calvin()

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy  # noqa: E402
from ript.env_runner.pi0_io import collate_observations  # noqa: E402
from ript.serve.inference import PolicyInference  # noqa: E402
from ript.simulators.calvin.changes import State, changes, states_before  # noqa: E402
from ript.simulators.calvin.env import GRIPPER_VIEW, STATIC, CalvinEnv  # noqa: E402
from ript.simulators.calvin.installed import configuration_folder, make_oracle  # noqa: E402
from ript.simulators.calvin.simulator import CalvinSimulator  # noqa: E402
from ript.simulators.calvin.starts import draw, place  # noqa: E402
from ript.simulators.calvin.tasks import COLORS, INSTRUCTIONS  # noqa: E402
from ript.simulators.suite_runner import SuiteRunner  # noqa: E402

STOCK = """
import sys, numpy as np
from ript.simulators.calvin.installed import make_env
given = np.load(sys.argv[1])
env = make_env(use_egl=True)
env.reset(robot_obs=given["start"][:15], scene_obs=given["start"][15:])
seen = [env.get_obs()]
seen += [env.step(action)[0] for action in given["actions"]]
np.savez(
    sys.argv[2],
    states=[np.concatenate([one["robot_obs"], one["scene_obs"]]) for one in seen],
    static=[one["rgb_obs"]["rgb_static"] for one in seen],
    gripper=[one["rgb_obs"]["rgb_gripper"] for one in seen],
)
"""
"""CALVIN's own environment in a process of its own, new, reset and stepped as its evaluation does. That looks once more
after a reset: PyBullet lights the first two pictures of a process otherwise than all after them."""


def use(env: CalvinEnv) -> None:
    """Leaves it in the middle of an episode of another scene, with the gripper closed around a block."""
    env.load_task(task_id("place_in_slider"))
    env.reset(99, num_steps_wait=3)
    env.step_chunk(ACTIONS[10:30], observe_last=False)


def trajectory(env: CalvinEnv, seed: int) -> tuple[str, list[np.ndarray]]:
    """The hash of a start of move_slider_left and all states of an episode."""
    env.load_task(task_id("move_slider_left"))
    began = env.reset(seed)
    states = [env.table.state()]
    for action in ACTIONS:
        assert not env.step_chunk(action[None], observe_last=False).success
        states.append(env.table.state())
    return began.init_hash, states


def test_states_and_pictures_of_a_used_environment_are_those_of_calvins_own_when_it_is_new(
    real: CalvinEnv, tmp_path: Path
) -> None:
    actions = ACTIONS[:15]
    start = draw("move_slider_left", 5)
    np.savez(tmp_path / "given.npz", start=start, actions=actions)
    subprocess.run([sys.executable, "-c", STOCK, tmp_path / "given.npz", tmp_path / "stock.npz"], check=True)
    stock = np.load(tmp_path / "stock.npz")
    use(real)
    real.load_task(task_id("move_slider_left"))
    seen = [real.reset(0, start).observation]
    states = [real.table.start()]
    for action in actions:
        seen.append(real.step_chunk(action[None]).observations[1])
        states.append(real.table.start())
    np.testing.assert_array_equal(states, stock["states"])
    np.testing.assert_array_equal([one[STATIC] for one in seen], stock["static"])
    np.testing.assert_array_equal([one[GRIPPER_VIEW] for one in seen], stock["gripper"])
    assert seen[0][STATIC].shape == (200, 200, 3) and seen[0][GRIPPER_VIEW].shape == (84, 84, 3)


def test_a_start_gives_the_same_scene_and_trajectory_however_the_environment_was_used(real: CalvinEnv) -> None:
    first, expected = trajectory(real, 5)
    use(real)
    second, found = trajectory(real, 5)
    assert first == second != trajectory(real, 6)[0]
    np.testing.assert_array_equal(found, expected)


def test_calvins_reset_alone_would_not(real: CalvinEnv) -> None:
    start = draw("move_slider_left", 5)
    real.reset(0, start)
    exact = real.table.hash()
    use(real)
    real.table.env.reset(robot_obs=start[:15], scene_obs=start[15:])
    assert real.table.hash() != exact


def test_taking_pictures_changes_nothing(real: CalvinEnv) -> None:
    blind = trajectory(real, 7)[1]
    real.reset(7)
    result = real.step_chunk(ACTIONS, observe_every=10, frame_every=20, frame_size=32)
    np.testing.assert_array_equal(real.table.state(), blind[-1])
    assert [frame.shape for frame in result.frames] == [(32, 32, 3)] * 2
    assert np.ptp(result.observations[10][STATIC]) > 100


def test_a_step_moves_the_target_by_two_centimetres_and_a_twentieth_of_a_radian(real: CalvinEnv) -> None:
    real.load_task(task_id("open_drawer"))
    real.reset(0)
    robot = real.table.env.robot
    position, turn = robot.target_pos.copy(), robot.target_orn.copy()
    real.step_chunk(np.array([[1.0, -0.5, 0, 0, 0, 1, 1]]), observe_last=False)
    np.testing.assert_allclose(robot.target_pos - position, [0.02, -0.01, 0], atol=1e-12)
    np.testing.assert_allclose(robot.target_orn - turn, [0, 0, 0.05], atol=1e-12)


def test_the_suite_has_the_oracles_tasks() -> None:
    assert set(make_oracle().tasks) == set(INSTRUCTIONS)


def after(task: str, before: State) -> np.ndarray:
    """A start where the task was done since `place(before)`."""
    change = next(change for change in changes(task) if change.holds_in(before))
    done = place({**before, **change.after}, np.random.RandomState(0))
    verb, _, *rest = task.split("_")
    block = next((COLORS.index(color) for color in COLORS if color in task), 0)
    if verb == "push" and "block" in task:
        done[21 + 6 * block] += 0.12 if rest[-1] == "right" else -0.12
    if verb == "rotate":
        done[21 + 6 * block + 5] += np.deg2rad(-75 if rest[-1] == "right" else 75)
    if verb == "unstack":
        height = done[23::6]
        assert height.max() < 0.48
    return done


def settled(env: CalvinEnv, start: np.ndarray) -> Mapping[str, object]:
    env.table.reset(start)
    for _ in range(3):
        env.table.step(np.array([0, 0, 0, 0, 0, 0, start[14]]))
    return env.table.info()


@pytest.mark.parametrize("task", INSTRUCTIONS)
def test_the_oracle_takes_a_task_for_done_when_its_change_has_happened_and_not_before(
    task: str, real: CalvinEnv
) -> None:
    state = states_before(task)[0]
    start = place(state, np.random.RandomState(0))
    real.load_task(task_id(task))
    real.reset(0, start)
    closed = real.step_chunk(np.array([[0, 0, 0, 0, 0, 0, start[14]]]), observe_last=False)
    assert not closed.success
    before = settled(real, start)
    assert not real.table.achieved(task, before, before)
    assert real.table.achieved(task, before, settled(real, after(task, state)))


def test_a_block_that_a_start_has_in_the_hand_stays_there(real: CalvinEnv) -> None:
    real.load_task(task_id("place_in_drawer"))
    for seed in range(3):
        start = real.reset(seed).init_state
        hold = np.tile([0, 0, 0.1, 0, 0, 0, -1], (60, 1))
        real.step_chunk(hold, observe_last=False)
        heights = real.table.start()[23::6] - start[23::6]
        assert heights.max() > 0.1, "it goes up with the hand"


def test_instructions_are_those_of_calvins_validation() -> None:
    from omegaconf import OmegaConf

    file = configuration_folder().parents[1] / "calvin_models/conf/annotations/new_playtable_validation.yaml"
    if not file.is_file():
        pytest.skip("calvin_env does not lie in a clone of CALVIN, which has the annotations")
    assert {task: sentences[0] for task, sentences in OmegaConf.load(file).items()} == INSTRUCTIONS


def test_the_server_answers_with_the_actions_of_a_rollout(real: CalvinEnv, tmp_path: Path) -> None:
    stats = table.write_stats(tmp_path / "norm_stats.json")
    policy = PI0_OFT_Policy(random_weights=True, norm_stats_path=str(stats))
    SuiteRunner(SUITE, task_names_to_use="open_drawer").check_policy(policy)
    adapter = CalvinSimulator(SUITE).make_adapter(policy.norm_stats, policy.card.delta_actions)
    real.load_task(task_id("open_drawer"))
    raw = real.reset(3).observation
    seen = adapter.observe(raw, INSTRUCTIONS["open_drawer"])
    inference = PolicyInference(policy, seed=1)
    message = {
        "observation/image": seen["image"]["base_0_rgb"],
        "observation/wrist_image": seen["image"]["left_wrist_0_rgb"],
        "observation/state": adapter.raw_state(raw),
        "prompt": seen["prompt"],
    }
    answer = np.array(inference.run(inference.read(message), 0))
    chunk = policy.select_action(collate_observations([seen]), noise=inference.noise(0))[0].numpy()
    commands = adapter.to_env(chunk, adapter.raw_state(raw))
    np.testing.assert_allclose(answer[:, :6], commands[:, :6], atol=1e-6)
    np.testing.assert_array_equal(np.where(answer[:, 6] > 0, 1, -1), commands[:, 6])


@pytest.mark.slow
def test_a_group_in_processes_of_their_own_starts_in_one_scene(tmp_path: Path) -> None:
    stats = table.write_stats(tmp_path / "norm_stats.json")
    policy = PI0_OFT_Policy(random_weights=True, norm_stats_path=str(stats))
    runner = SuiteRunner(
        SUITE, task_names_to_use="stack_block", num_parallel_envs=2, max_episode_length=10, open_loop=5, image_size=40
    )
    played = list(runner.run_policy_in_env("stack_block", policy, all_init_states=[None] * 2, scene_seeds=[10**6] * 2))
    runner.close()
    assert len({episode.init_hash for _, _, episode in played}) == 1
    assert {episode.actions.shape for _, _, episode in played} == {(10, 7)}
