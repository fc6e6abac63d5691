"""What an environment does around the simulator, with a stand-in for it; the real one is in `test_real.py`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import table
from table import SUITE, StandIn, StandInCamera, task_id, write_stats

from ript.models.pi0.norm_stats import NormStats
from ript.simulators.calvin.adapter import CalvinAdapter
from ript.simulators.calvin.env import GRIPPER_VIEW, STATE, STATIC, CalvinEnv
from ript.simulators.calvin.starts import draw

FORWARD = np.array([[1.0, 0, 0, 0, 0, 0, 1]])
STAY = np.tile([0.0, 0, 0, 0, 0, 0, 1], (20, 1))


def test_a_reset_loads_everything_anew_so_that_nothing_is_left_of_before(stand_in: StandIn) -> None:
    env = CalvinEnv(SUITE, task_id("open_drawer"), render_images=False)
    first = env.reset(3)
    env.step_chunk(table.ACTIONS[:2])
    stand_in.robot.gripper_action = -1
    second = env.reset(3)
    assert first.init_hash == second.init_hash
    assert stand_in.calls == ["load", "reset"] * 2 and stand_in.robot.gripper_action == 1
    assert env.reset(4).init_hash != first.init_hash
    held = draw("place_in_slider", 0)
    env.reset(0, held)
    assert stand_in.robot.gripper_action == -1


def test_the_hash_covers_what_the_start_does_not_say(stand_in: StandIn) -> None:
    env = CalvinEnv(SUITE, 0, render_images=False)
    before = env.reset(3).init_hash
    stand_in.traces = 1e-12
    assert env.table.hash() != before


def test_a_camera_that_nobody_looks_through_takes_no_picture(stand_in: StandIn) -> None:
    env = CalvinEnv(SUITE, 0, image_size=20, render="fast")
    env.reset(0)
    StandInCamera.taken = 0
    env.step_chunk(STAY[:10], observe_last=False)
    assert StandInCamera.taken == 0
    result = env.step_chunk(STAY[10:], observe_every=5, frame_every=10, frame_size=30)
    assert list(result.observations) == [5, 10] and StandInCamera.taken == 5
    assert result.observations[5][STATIC].shape == (20, 20, 3)
    assert result.observations[5][GRIPPER_VIEW].shape == (8, 8, 3)
    assert [frame.shape for frame in result.frames] == [(30, 30, 3)]


def test_the_oracle_ends_an_episode_with_a_reward_of_one_and_the_next_task_begins_there(stand_in: StandIn) -> None:
    env = CalvinEnv(SUITE, 0, render_images=False)
    env.reset(0)
    result = env.step_chunk(np.repeat(FORWARD, 9, axis=0))
    assert (result.executed, result.success) == (3, True)
    np.testing.assert_array_equal(result.rewards, [0, 0, 1])
    with pytest.raises(RuntimeError, match="after success"):
        env.step_chunk(FORWARD)
    x = stand_in.robot_obs[0]
    seen = env.go_on(task_id("open_drawer"))
    assert seen[STATE][0] == x and env.task_name == "open_drawer"
    assert not env.step_chunk(FORWARD).success


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda env: env.step_chunk(0 * FORWARD), ValueError, r"actions\[0, 6\] is 0\.0: CALVIN's gripper is told"),
        (lambda env: env.step_chunk(np.zeros((2, 4))), ValueError, "gripper|shape"),
        (lambda env: env.step_chunk(np.full((1, 7), np.inf)), ValueError, "is inf"),
        (lambda env: env.step_chunk(FORWARD, frame_every=5), ValueError, "cannot take frames"),
        (lambda env: env.load_task(34), ValueError, r"task id 34 of calvin is not in 0\.\.33"),
        (lambda env: env.reset(-1), ValueError, "cannot be negative, got -1"),
        (lambda env: env.reset(0, np.zeros(38)), ValueError, "a start has 39 finite numbers"),
        (lambda env: env.reset(0, np.full(39, 0.5)), ValueError, r"lights are 0 or 1, got \[0\.5, 0\.5\]"),
        (lambda env: env.reset(0, np.zeros(39)), ValueError, "gripper is -1 or 1, got 0"),
        (lambda env: env.render(8), RuntimeError, "render_images=False"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_stepped(
    stand_in: StandIn, call: Callable[[CalvinEnv], object], error: type[Exception], message: str
) -> None:
    env = CalvinEnv(SUITE, 0, render_images=False)
    env.reset(0)
    with pytest.raises(error, match=message):
        call(env)
    assert stand_in.traces == 0


def test_a_second_environment_in_one_process_is_refused(stand_in: StandIn) -> None:
    stand_in.cid = 1  # type: ignore[misc]
    with pytest.raises(RuntimeError, match="a process can have one environment"):
        CalvinEnv(SUITE, 0, render_images=False)
    assert stand_in.closed == 1


def test_closing_twice_does_nothing_more(stand_in: StandIn) -> None:
    env = CalvinEnv(SUITE, 0, render_images=False)
    env.close()
    env.close()
    assert stand_in.closed == 1
    with pytest.raises(RuntimeError, match=r"calvin task 0 \(rotate_red_block_right\) is closed"):
        env.reset(0)


def test_the_gripper_is_told_one_or_minus_one_and_all_else_as_the_policy_says(
    stand_in: StandIn, tmp_path: Path
) -> None:
    adapter = CalvinAdapter(NormStats.load(write_stats(tmp_path / "stats.json")), False)
    chunk = np.random.default_rng(1).normal(size=(6, 7))
    chunk[0, 6] = 0
    commands = adapter.to_env(chunk, np.zeros(7))
    np.testing.assert_allclose(commands[:, :6], 0.4 * chunk[:, :6], rtol=1e-5)
    np.testing.assert_array_equal(commands[:, 6], np.where(chunk[:, 6] > 0, 1, -1))
    assert commands[0, 6] == -1
    labels = adapter.to_labels(commands, np.zeros(7))
    np.testing.assert_allclose(labels[:, :6], chunk[:, :6], atol=1e-5)
    np.testing.assert_array_equal(adapter.to_env(labels, np.zeros(7))[:, 6], commands[:, 6])

    env = CalvinEnv(SUITE, 0, render="fast")
    raw = env.reset(0).observation
    seen = adapter.observe(raw, "open the drawer")
    assert {name: image.shape for name, image in seen["image"].items()} == {
        "base_0_rgb": (200, 200, 3),
        "left_wrist_0_rgb": (84, 84, 3),
    }
    np.testing.assert_array_equal(adapter.raw_state(raw), draw("rotate_red_block_right", 0)[:7])
    with pytest.raises(KeyError, match="the observation has no 'rgb_gripper'"):
        adapter.observe({STATE: raw[STATE], STATIC: raw[STATIC]}, "")
