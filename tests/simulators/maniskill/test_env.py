"""Exactness: against ManiSkill's own environment, between environments, and over time."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import panda
import pytest
import torch
from panda import ACTIONS, SUITE, task_id

panda.need_maniskill()

from ript.env_runner.vec_env import StartOfEpisode  # noqa: E402
from ript.simulators.maniskill.env import IMAGE, STATE, ManiSkillEnv  # noqa: E402
from ript.simulators.maniskill.tasks import INSTRUCTIONS  # noqa: E402


def use(env: ManiSkillEnv) -> None:
    """Leaves it in the middle of an episode of another scene."""
    env.reset(99, num_steps_wait=3)
    env.step_chunk(ACTIONS[::-1], observe_last=False)


def trajectory(env: ManiSkillEnv, start: np.ndarray | None = None) -> tuple[StartOfEpisode, list[np.ndarray]]:
    """A start and all states of an episode."""
    began = env.reset(5, start)
    states = [env.scene.state()]
    for action in ACTIONS:
        if env.step_chunk(action[None], observe_last=False).success:
            break
        states.append(env.scene.state())
    return began, states


def assert_used_is_fresh(name: str, used: ManiSkillEnv) -> None:
    used.load_task(task_id(name))
    use(used)
    fresh = ManiSkillEnv(SUITE, task_id(name), render_images=False)
    first, expected = trajectory(fresh)
    second, found = trajectory(used)
    use(used)
    third, again = trajectory(used, np.array([5.0]))
    assert first.init_hash == second.init_hash == third.init_hash
    assert first.init_state.tolist() == third.init_state.tolist() == [5.0]
    for states in (found, again):
        np.testing.assert_array_equal(states, expected)
    fresh.close()


@pytest.mark.parametrize("name", ["PushCube-v1", "StackCube-v1"])
def test_a_start_gives_the_same_scene_and_trajectory_in_a_used_and_in_a_fresh_environment(
    name: str, blind: ManiSkillEnv
) -> None:
    assert_used_is_fresh(name, blind)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_so_it_does_for_every_task(name: str, blind: ManiSkillEnv) -> None:
    assert_used_is_fresh(name, blind)


def test_another_start_or_another_task_is_another_scene(blind: ManiSkillEnv) -> None:
    hashes = []
    for name in ("PushCube-v1", "PullCube-v1"):
        blind.load_task(task_id(name))
        hashes += [blind.reset(seed).init_hash for seed in (0, 1, 0)]
    assert len(set(hashes)) == 4
    assert hashes[0] == hashes[2] and hashes[3] == hashes[5]


def test_steps_are_those_of_maniskills_own_environment(blind: ManiSkillEnv) -> None:
    blind.load_task(task_id("PushCube-v1"))
    seen = blind.reset(3).observation[STATE]
    stock = panda.stock_env("PushCube-v1", obs_mode="state_dict", render_backend="none")
    observation, _ = stock.reset(seed=3)
    for action in ACTIONS[:25]:
        pose = observation["extra"]["tcp_pose"][0].numpy()
        np.testing.assert_allclose(seen[:3], pose[:3], rtol=0, atol=0)
        np.testing.assert_array_equal(np.abs(seen[3:7]), np.abs(pose[3:]).astype(np.float64))
        np.testing.assert_array_equal(seen[7:], observation["agent"]["qpos"][0, -2:].numpy().astype(np.float64))
        observation, reward, _, _, info = stock.step(action.astype(np.float32))
        result = blind.step_chunk(action[None])
        seen = result.observations[1][STATE]
        assert (result.rewards[0], result.success) == (float(reward[0]), bool(info["success"][0]))
    stock.close()


def test_the_sign_of_the_hands_quaternion_never_changes_on_the_way(blind: ManiSkillEnv) -> None:
    blind.load_task(task_id("PushCube-v1"))
    blind.reset(0)
    quaternions = [blind.state()[3:7]]
    for action in ACTIONS:
        quaternions.append(blind.step_chunk(action[None]).observations[1][STATE][3:7])
    assert np.abs(np.diff(quaternions, axis=0)).max() < 0.2
    assert (np.array(quaternions)[:, 1] > 0.5).all()


def test_an_episode_may_be_longer_than_maniskills_own_limit(blind: ManiSkillEnv) -> None:
    blind.load_task(task_id("PullCube-v1"))
    blind.reset(0)
    assert blind.step_chunk(np.zeros((53, 7)), observe_last=False).executed == 53


@pytest.mark.parametrize("start", [[0.5], [-1.0], [2.0**32], [np.nan], [1.0, 2.0]])
def test_a_start_that_is_not_one_seed_is_refused(blind: ManiSkillEnv, start: list[float]) -> None:
    with pytest.raises(ValueError, match="needs a start of one seed, 0 to 4294967295, got"):
        blind.reset(0, np.array(start))
    with pytest.raises(RuntimeError, match="after a reset that failed"):
        blind.step_chunk(ACTIONS[:1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.reset(-1), "cannot be negative, got -1"),
        (lambda env: env.step_chunk(np.zeros((2, 4))), r"shape \(n, 7\)"),
        (lambda env: env.step_chunk(np.full((1, 7), np.inf)), "is inf"),
        (lambda env: env.step_chunk(ACTIONS, frame_every=5), "cannot take frames"),
        (lambda env: env.load_task(10), r"task id 10 of maniskill is not in 0\.\.9"),
    ],
)
def test_what_cannot_be_done_is_refused(
    blind: ManiSkillEnv, call: Callable[[ManiSkillEnv], object], message: str
) -> None:
    blind.reset(0)
    with pytest.raises(ValueError, match=message):
        call(blind)


def test_pictures_are_maniskills_own_and_taking_them_changes_nothing(seeing: ManiSkillEnv, blind: ManiSkillEnv) -> None:
    blind.load_task(task_id("PushCube-v1"))
    expected = trajectory(blind)[1]
    began = seeing.reset(5)
    result = seeing.step_chunk(ACTIONS, observe_every=10, frame_every=20, frame_size=32)
    np.testing.assert_array_equal(seeing.scene.state(), expected[-1])
    assert list(result.observations) == [10, 20, 30, 40]
    assert [frame.shape for frame in result.frames] == [(32, 32, 3)] * 2
    from ript.simulators.maniskill.vulkan import render_backend

    stock = panda.stock_env(
        "PushCube-v1", obs_mode="rgb", render_backend=render_backend(), sensor_configs={"width": 48, "height": 48}
    )
    observation, _ = stock.reset(seed=5)
    np.testing.assert_array_equal(began.observation[IMAGE], rgb(observation))
    for action in ACTIONS[:10]:
        observation = stock.step(action.astype(np.float32))[0]
    np.testing.assert_array_equal(result.observations[10][IMAGE], rgb(observation))
    stock.close()


def rgb(observation: dict[str, dict[str, dict[str, torch.Tensor]]]) -> np.ndarray:
    return observation["sensor_data"]["base_camera"]["rgb"][0].cpu().numpy()


def test_a_camera_that_nobody_looks_through_takes_no_picture(
    seeing: ManiSkillEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeing.reset(0)
    taken: list[int] = []
    monkeypatch.setattr(seeing.scene, "picture", lambda size: taken.append(size))
    seeing.step_chunk(ACTIONS[:20], observe_last=False)
    assert taken == []
    seeing.step_chunk(ACTIONS[20:30])
    assert taken == [48]


def test_without_a_driver_one_line_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_ICD_FILENAMES", "/nonexistent/icd.json")
    code = "from ript.simulators.maniskill.scene import TaskScene; TaskScene('PushCube-v1', 16)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: PushCube-v1 cannot be rendered here (")
    assert last.endswith("a Vulkan driver that renders: bash scripts/setup_maniskill.sh")


@pytest.mark.slow
def test_the_goal_of_pick_cube_is_in_the_picture(seeing: ManiSkillEnv) -> None:
    seeing.load_task(task_id("PickCube-v1"))
    with_goal = seeing.reset(1).observation[IMAGE]
    seeing.scene.env.goal_site.hide_visual()
    without = seeing.scene.picture(48)
    changed = (with_goal != without).any(axis=2)
    assert 3 <= changed.sum() < 300  # a ball of 5 cm
    seen = with_goal[changed].astype(int)
    assert (seen[:, 1] > seen[:, 0]).mean() > 0.5  # green
    seeing.load_task(task_id("PushCube-v1"))
