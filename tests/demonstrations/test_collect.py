"""On the real simulator, without images but for one."""

import itertools
import os
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from ript.algos.rl_optimizers.contexts import LAYOUT_SEED, ContextLoader
from ript.demonstrations.collect import collect, parse_arguments
from ript.demonstrations.demonstration_files import read_tries
from ript.demonstrations.perturbation import DEMONSTRATION_SEED, NOISE_MEMORY, demonstration_seed, noise_steps
from ript.demonstrations.reader import Demonstrations
from ript.demonstrations.task_demonstrator import DemonstratorSettings
from ript.env_runner.pi0_runner_utils import raw_state
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv
from ript.simulators.libero.expert.demonstrator import Demonstrator

SUITE = "libero_spatial"


@pytest.fixture(scope="module")
def env():
    with_images = LiberoEnv(SUITE, 0, image_size=32)
    yield with_images
    with_images.close()


@pytest.fixture(scope="module")
def recorded(env):
    """One demonstration with an image at every 30th step."""
    demonstrator = Demonstrator(DemonstratorSettings(SUITE, image_size=32, image_every=30))
    recording, success = demonstrator.record(env, DEMONSTRATION_SEED + 1)
    return recording, success


def test_the_expert_solves_a_task(recorded):
    recording, success = recorded
    assert success
    assert 40 < len(recording) <= LiberoBenchmark(SUITE).max_episode_length


def test_a_demonstration_repeats_bit_for_bit_and_shows_what_a_policy_would_see(recorded, env):
    recording, _ = recorded
    start = env.reset(recording.scene_seed, recording.init_state)
    seen = {0: start.observation}
    actions = np.stack(recording.rows["actions"])
    for step, action in enumerate(actions):
        np.testing.assert_array_equal(env.get_state(), recording.rows["states"][step])
        is_due = (step + 1) % 30 == 0
        result = env.step_chunk(action[None], observe_last=is_due)
        if is_due and not result.success:
            seen[step + 1] = result.observations[1]
    assert result.success
    assert recording.image_steps == sorted(seen)
    for row, step in enumerate(recording.image_steps):
        np.testing.assert_array_equal(recording.images["agentview_rgb"][row], seen[step]["agentview_image"])
        proprioception = [*recording.rows["obs/ee_states"][step], *recording.rows["obs/gripper_states"][step]]
        np.testing.assert_array_equal(proprioception, raw_state(seen[step]))


def test_labels_are_the_commands_with_the_noise_as_they_were_executed(recorded):
    recording, _ = recorded
    labels, commanded = np.stack(recording.rows["actions"]), np.stack(recording.rows["expert_actions"])
    assert np.abs(labels).max() <= 1 and np.abs(commanded).max() <= 1
    np.testing.assert_array_equal(labels[:, 6], commanded[:, 6])
    assert (recording.noise > 0) == (labels != commanded).any()


def test_noise_has_the_level_and_the_memory_it_says():
    steps = np.stack(list(itertools.islice(noise_steps(np.random.default_rng(0), 0.2, 6), 20000)))
    assert steps.std() == pytest.approx(0.2, rel=0.03)
    assert steps[:100].std() == pytest.approx(0.2, rel=0.3)  # from the first step on
    lag = 5
    correlation = (steps[:-lag] * steps[lag:]).mean() / steps.var()
    assert correlation == pytest.approx(NOISE_MEMORY**lag, abs=0.03)


def test_layouts_are_never_those_of_evaluation(env):
    evaluation = LiberoBenchmark(SUITE).get_task_init_states(0)
    drawn = [env.reset(demonstration_seed(0, SUITE, 0, number), num_steps_wait=0).init_state for number in range(5)]
    assert all(np.abs(evaluation - state).max(axis=1).min() > 1e-3 for state in drawn)
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3


def test_seeds_are_never_those_of_evaluation_or_training():
    seeds = [
        demonstration_seed(seed, SUITE, task, number) for seed in (0, 1) for task in (0, 9) for number in range(50)
    ]
    assert len(set(seeds)) == len(seeds)
    loader = ContextLoader([0], 1)
    trained = [loader.context(number).scene_seed for number in range(200)]
    assert max(trained) < LAYOUT_SEED + 2**31 < DEMONSTRATION_SEED <= min(seeds) <= max(seeds) < 2**32


def _command(folder, demos):
    options = ["--suite", SUITE, "--tasks", "2", "--demos-per-task", str(demos), "--workers", "1", "--image-every", "0"]
    return [*options, "--out", str(folder)]


def _wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_collection_goes_on_and_repeats_nothing(tmp_path):
    folder = tmp_path / SUITE
    process = subprocess.Popen(
        [sys.executable, "-m", "ript.demonstrations.collect", *_command(tmp_path, 2)],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _wait_for(lambda: list(folder.glob("*.parts/try_*.json")))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    parts = {path.name: path.read_bytes() for path in folder.glob("*.parts/try_*.hdf5")}
    assert parts and not list(folder.glob("*.hdf5"))

    collect(parse_arguments(_command(tmp_path, 2)))
    (path,) = folder.glob("*_demo.hdf5")
    _, tries = read_tries(path)
    assert [attempt.number for attempt in tries] == list(range(len(tries)))
    assert len(Demonstrations(path)) == sum(attempt.success for attempt in tries) == 2
    assert not list(folder.glob("*.parts"))
    with h5py.File(path) as file:
        assert [demo.attrs["num_samples"] for demo in file["data"].values()] == [t.steps for t in tries if t.success]
    assert f"2 / {len(tries)}" in (folder / "collection.md").read_text()

    content = path.read_bytes()
    collect(parse_arguments(_command(tmp_path, 2)))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "libero_spacial"], "did you mean libero_spatial"),
        (["--suite", SUITE, "--tasks", "17"], "task id 17"),
        (["--suite", SUITE, "--tasks", "pick_up"], "unknown task"),
        (["--suite", SUITE, "--workers", "0"], "workers=0"),
        (["--suite", SUITE, "--image-every", "-1"], "image_every=-1"),
    ],
)
def test_bad_options_are_refused_before_anything_is_simulated(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        collect(parse_arguments([*options, "--out", str(tmp_path)]))
