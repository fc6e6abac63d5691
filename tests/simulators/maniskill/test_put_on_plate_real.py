"""Objects on plates with RLinf's own code and a user's assets: against RLinf's own environment, and over processes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import plates
import pytest
from plates import SUITE

plates.need_rlinf()

import rlinf_stock  # noqa: E402

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy  # noqa: E402
from ript.simulators.maniskill.put_on_plate.benchmark import PutOnPlateBenchmark  # noqa: E402
from ript.simulators.maniskill.put_on_plate.env import IMAGE, STATE, PutOnPlateEnv  # noqa: E402
from ript.simulators.suite_runner import SuiteRunner  # noqa: E402

WIDTH = 640
BORDER = 80
"""Rows above and below RLinf's picture where it is fitted into a square of its own width."""


@pytest.fixture(scope="module")
def real() -> Iterator[PutOnPlateEnv]:
    """RLinf's environment behind ours, with pictures at their own size."""
    env = PutOnPlateEnv(SUITE, 0, WIDTH)
    yield env
    env.close()


def use(env: PutOnPlateEnv) -> None:
    """Leaves it in the middle of an episode of another task, with the gripper closing."""
    env.load_task(7)
    env.reset(99)
    env.step_chunk(np.random.default_rng(1).uniform(-0.03, 0.03, (9, 7)), observe_last=False)


def carry(env: PutOnPlateEnv, seed: int) -> np.ndarray:
    """Commands `(n, 7)` of a hand that goes to the object, lifts it and puts it on the plate, well or not."""
    inner, commands = env.scene.env, []
    env.reset(seed)

    def tip() -> np.ndarray:
        fingers = inner.agent.finger1_link.pose.p + inner.agent.finger2_link.pose.p
        return (fingers / 2)[0].numpy().astype(np.float64)

    at, on = (
        objects[name].pose.p[0].numpy().astype(np.float64)
        for objects, name in ((inner.objs_carrot, inner.source_obj_name), (inner.objs_plate, inner.target_obj_name))
    )
    way = [(at, 0.12, 1, 6), (at, 0.0, 1, 8), (at, 0.0, 0, 7), (at, 0.12, 0, 6), (on, 0.12, 0, 8), (on, 0.03, 0, 5)]
    for to, above, gripper, steps in [*way, (on, 0.03, 1, 4)]:
        for _ in range(steps):
            x, y, z = np.clip(0.6 * (to + np.array([0, 0, above]) - tip()), -0.04, 0.04)
            commands.append(np.array([-x, -y, z, 0, 0, 0, gripper]))  # the arm stands turned by 180°
            if env.step_chunk(commands[-1][None], observe_last=False).success:
                return np.stack(commands)
    return np.stack(commands)


def test_all_is_as_in_rlinfs_own_environment_when_it_is_new(real: PutOnPlateEnv, tmp_path: Path) -> None:
    real.load_task(3)
    actions = carry(real, 5)
    use(real)
    real.load_task(3)
    began = real.reset(5)
    seen, states, rewards = [began.observation], [real.scene.state()], [0.0]
    for action in actions:
        result = real.step_chunk(action[None])
        seen.append(result.observations[1])
        states.append(real.scene.state())
        rewards.append(result.rewards[0])
    np.savez(tmp_path / "given.npz", episode=[real.scene.episode_id], actions=actions)
    subprocess.run([sys.executable, rlinf_stock.__file__, tmp_path / "given.npz", tmp_path / "stock.npz"], check=True)
    stock = np.load(tmp_path / "stock.npz")
    np.testing.assert_array_equal(states, stock["scenes"])
    np.testing.assert_array_equal([one[STATE] for one in seen], stock["states"])
    np.testing.assert_allclose(rewards, stock["rewards"], atol=1e-6)
    assert result.success == stock["successes"][-1] and not stock["successes"][:-1].any()
    assert stock["prompt"].tolist() == [PutOnPlateBenchmark(SUITE).get_language(3)]
    images = np.stack([one[IMAGE] for one in seen])
    np.testing.assert_array_equal(images[:, BORDER:-BORDER], stock["images"])
    assert not images[:, :BORDER].any() and not images[:, -BORDER:].any()


def test_a_start_is_the_same_scene_in_a_used_environment_and_no_other_start_is(real: PutOnPlateEnv) -> None:
    real.load_task(3)
    first = real.reset(5)
    hashes = {first.init_hash, *(real.reset(seed).init_hash for seed in range(6, 12))}
    assert len(hashes) == 7
    use(real)
    real.load_task(3)
    again = real.reset(0, np.array([5.0]))
    assert again.init_hash == first.init_hash
    np.testing.assert_array_equal(again.observation[IMAGE], first.observation[IMAGE])


def test_every_task_says_the_sentence_of_rlinfs_environment(real: PutOnPlateEnv) -> None:
    for task_id in range(PutOnPlateBenchmark(SUITE).n_tasks):
        real.load_task(task_id)
        real.scene.reset(0)  # it compares the sentences


def test_a_step_that_nobody_looks_at_takes_no_picture(real: PutOnPlateEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    real.reset(0)
    taken: list[bool] = []
    camera = real.scene.env.scene.sensors["3rd_view_camera"]
    capture = camera.capture
    monkeypatch.setattr(camera, "capture", lambda: (taken.append(True), capture()))
    real.step_chunk(np.zeros((3, 7)), observe_last=False)
    assert taken == []
    real.step_chunk(np.zeros((3, 7)))
    assert taken == [True]


@pytest.mark.slow
def test_a_group_in_processes_of_their_own_starts_in_one_scene(tmp_path: Path) -> None:
    stats = plates.write_stats(tmp_path / "norm_stats.json")
    policy = PI0_OFT_Policy(random_weights=True, norm_stats_path=str(stats), cameras=["base_0_rgb"])
    runner = SuiteRunner(
        SUITE, task_names_to_use=0, num_parallel_envs=2, max_episode_length=10, open_loop=5, image_size=32
    )
    (task,) = runner.task_names
    played = list(runner.run_policy_in_env(task, policy, all_init_states=[None] * 2, scene_seeds=[1_000_000] * 2))
    runner.close()
    assert len({episode.init_hash for _, _, episode in played}) == 1
    assert {episode.actions.shape for _, _, episode in played} == {(10, 7)}
