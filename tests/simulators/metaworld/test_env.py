"""Exactness: against MetaWorld's own environment, between environments, and over time."""

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import psutil
import pytest
import sawyer
from sawyer import MT50, task_id

sawyer.need_metaworld()

from ript.env_runner.vec_env import Start, StartOfEpisode  # noqa: E402
from ript.env_runner.workers import EnvPool  # noqa: E402
from ript.simulators.metaworld.env import IMAGE, STATE, MetaWorldEnv  # noqa: E402
from ript.simulators.metaworld.scene import CAMERA, CAMERA_POSITION  # noqa: E402
from ript.simulators.metaworld.tasks import INSTRUCTIONS  # noqa: E402

SEVERAL = ("drawer-open-v3", "push-v3", "assembly-v3", "stick-pull-v3")
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (40, 4))


def use(env: MetaWorldEnv) -> None:
    """Leaves it in the middle of an episode of another scene."""
    env.reset(99, num_steps_wait=3)
    env.step_chunk(ACTIONS[::-1], observe_last=False)


def trajectory(env: MetaWorldEnv, start: np.ndarray | None = None) -> tuple[StartOfEpisode, list[np.ndarray]]:
    """A start and all states of an episode."""
    began = env.reset(5, start, num_steps_wait=16)
    states = [env.scene.state()]
    for action in ACTIONS:
        if env.step_chunk(action[None], observe_last=False).success:
            break
        states.append(env.scene.state())
    return began, states


def assert_used_is_fresh(name: str) -> None:
    used = MetaWorldEnv(MT50, task_id("reach-v3"), render_images=False)
    use(used)
    used.load_task(task_id(name))
    use(used)
    fresh = MetaWorldEnv(MT50, task_id(name), render_images=False)
    first, expected = trajectory(fresh)
    second, found = trajectory(used)
    third, again = trajectory(used, first.init_state)
    assert first.init_hash == second.init_hash == third.init_hash
    np.testing.assert_array_equal(first.init_state, second.init_state)
    for states in (found, again):
        np.testing.assert_array_equal(states, expected)
    used.close()
    fresh.close()


@pytest.mark.parametrize("name", SEVERAL)
def test_a_start_gives_the_same_scene_and_trajectory_in_a_used_and_in_a_fresh_environment(name: str) -> None:
    assert_used_is_fresh(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_so_it_does_for_every_task(name: str) -> None:
    assert_used_is_fresh(name)


def test_another_start_or_another_task_is_another_scene(blind: MetaWorldEnv) -> None:
    hashes = []
    for name in ("drawer-open-v3", "drawer-close-v3"):
        blind.load_task(task_id(name))
        hashes += [blind.reset(seed).init_hash for seed in (0, 1, 0)]
    assert len(set(hashes)) == 4
    assert hashes[0] == hashes[2] and hashes[3] == hashes[5]


def test_the_hash_sees_what_a_reset_writes_into_the_model(blind: MetaWorldEnv) -> None:
    blind.load_task(task_id("drawer-open-v3"))
    blind.reset(0)
    before = blind.scene.hash()
    blind.scene.env.model.body("drawer").pos[0] += 1e-9
    assert blind.scene.hash() != before


@pytest.mark.parametrize("name", ["button-press-topdown-v3", "push-v3"])
def test_steps_are_those_of_metaworlds_own_environment(blind: MetaWorldEnv, name: str) -> None:
    blind.load_task(task_id(name))
    start = blind.reset(3, num_steps_wait=16)
    stock = sawyer.stock_env(name, start.init_state)
    stock.reset()
    for _ in range(16):
        observation = stock.step(np.zeros(4))[0]
    np.testing.assert_array_equal(start.observation[STATE], observation[:4])
    for action in ACTIONS:
        observation, reward, _, _, info = stock.step(action)
        result = blind.step_chunk(action[None])
        np.testing.assert_array_equal(result.observations[1][STATE], observation[:4])
        assert (result.rewards[0], result.success) == (reward, bool(info["success"]))


def test_an_episode_may_be_longer_than_metaworlds_own_limit(blind: MetaWorldEnv) -> None:
    blind.load_task(task_id("push-v3"))
    blind.reset(0, num_steps_wait=16)
    blind.scene.env.curr_path_length = 499
    assert blind.step_chunk(np.zeros((3, 4)), observe_last=False).executed == 3


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ([0.0, 0.6], "needs a start of 6 finite numbers"),
        ([np.nan] * 6, "needs a start of 6 finite numbers"),
        ([9.0, 0.6, 0.02, 0.0, 0.9, 0.02], "is not within"),
        ([0.0, 0.7, 0.02, 0.0, 0.8, 0.01], "too near its goal"),
    ],
)
def test_a_start_that_the_task_does_not_take_is_refused_instead_of_asked_for_ever(
    blind: MetaWorldEnv, start: list[float], message: str
) -> None:
    blind.load_task(task_id("push-v3"))
    with pytest.raises(ValueError, match=f"push-v3.*{message}"):
        blind.reset(0, np.array(start))
    with pytest.raises(RuntimeError, match="after a reset that failed"):
        blind.step_chunk(ACTIONS[:1])


@pytest.mark.parametrize(("actions", "message"), [(np.zeros((2, 7)), r"\(n, 4\)"), (np.full((1, 4), np.inf), "is inf")])
def test_actions_that_cannot_be_executed_are_refused(blind: MetaWorldEnv, actions: np.ndarray, message: str) -> None:
    blind.reset(0)
    with pytest.raises(ValueError, match=message):
        blind.step_chunk(actions)


@pytest.fixture(scope="module")
def seeing() -> Iterator[MetaWorldEnv]:
    env = MetaWorldEnv(MT50, task_id("drawer-open-v3"), image_size=48)
    yield env
    env.close()


def test_pictures_are_metaworlds_own_and_taking_them_changes_nothing(seeing: MetaWorldEnv, blind: MetaWorldEnv) -> None:
    blind.load_task(task_id("drawer-open-v3"))
    start, expected = trajectory(blind)
    began = seeing.reset(5, num_steps_wait=16)
    result = seeing.step_chunk(ACTIONS, observe_every=10, frame_every=20, frame_size=32)
    np.testing.assert_array_equal(seeing.scene.state(), expected[-1])
    assert list(result.observations) == [10, 20, 30, 40]
    assert [frame.shape for frame in result.frames] == [(32, 32, 3)] * 2

    stock = sawyer.stock_env(
        "drawer-open-v3", start.init_state, render_mode="rgb_array", camera_name=CAMERA, width=48, height=48
    )
    stock.model.cam_pos[2] = CAMERA_POSITION
    stock.reset()
    for _ in range(16):
        stock.step(np.zeros(4))
    np.testing.assert_array_equal(began.observation[IMAGE], stock.render())
    for action in ACTIONS[:10]:
        stock.step(action)
    np.testing.assert_array_equal(result.observations[10][IMAGE], stock.render())
    stock.close()


def test_a_picture_after_a_reset_without_waiting_is_of_the_new_scene(seeing: MetaWorldEnv) -> None:
    first = seeing.reset(1).observation[IMAGE]
    other = seeing.reset(2).observation[IMAGE]
    assert (first != other).any()
    np.testing.assert_array_equal(seeing.reset(1).observation[IMAGE], first)


def test_a_camera_that_nobody_looks_through_takes_no_picture(
    seeing: MetaWorldEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeing.reset(0)
    taken: list[int] = []
    monkeypatch.setattr(seeing._camera, "picture", lambda data, size: taken.append(size))
    seeing.step_chunk(ACTIONS[:20], observe_last=False)
    assert taken == []
    seeing.step_chunk(ACTIONS[20:30])
    assert taken == [48]


def test_a_group_in_processes_of_their_own_starts_in_one_scene_and_no_process_is_left() -> None:
    others = set(psutil.Process().children(recursive=True))  # of tests that keep processes for the next ones
    with EnvPool(partial(MetaWorldEnv, MT50, task_id("push-v3"), 16, False), 2) as pool:
        starts = [start for _ in range(2) for start in pool.reset([Start(7), Start(7)])]
        assert len({start.init_hash for start in starts}) == 1
        children = set(psutil.Process().children(recursive=True)) - others
        workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        workers[0].kill()
        with pytest.raises(Exception, match="died"):
            pool.reset([Start(8), Start(8)])
    assert not any(child.is_running() for child in workers)


@pytest.mark.slow
def test_200_episodes_grow_memory_by_at_most_50_megabytes() -> None:
    env = MetaWorldEnv(MT50, task_id("drawer-open-v3"), image_size=96)
    process = psutil.Process(os.getpid())

    def play(count: int) -> None:
        for seed in range(count):
            env.reset(seed, num_steps_wait=2)

    play(20)
    before = process.memory_info().rss
    play(200)
    grown = process.memory_info().rss - before
    env.close()
    assert grown <= 50e6, f"{grown / 1e6:.0f} MB"


def test_an_environment_says_which_arguments_it_does_not_take(blind: MetaWorldEnv) -> None:
    for arguments in ((-1, None, 0), (0, None, -1)):
        with pytest.raises(ValueError, match=r"cannot be negative, got .*-1"):
            blind.reset(*arguments)
    blind.reset(0)
    with pytest.raises(ValueError, match="cannot take frames"):
        blind.step_chunk(ACTIONS, frame_every=5)
    with pytest.raises(ValueError, match="task id 50"):
        blind.load_task(50)
