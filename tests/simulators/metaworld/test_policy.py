"""The whole way on the real MetaWorld: demonstrations, windows, losses, rollouts, the server's answer."""

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import sawyer
import torch
from sawyer import MT50

sawyer.need_metaworld()

from ript.algos.losses.cfg_flow import CFGFlowLoss  # noqa: E402
from ript.algos.policies.actor import Actor, Exploration  # noqa: E402
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy  # noqa: E402
from ript.demonstrations.collect import collect, parse_arguments  # noqa: E402
from ript.demonstrations.compute_norm_stats import compute_norm_stats  # noqa: E402
from ript.demonstrations.reader import Demonstrations  # noqa: E402
from ript.demonstrations.window_loader import demonstration_windows  # noqa: E402
from ript.env_runner.pi0_io import collate_observations  # noqa: E402
from ript.env_runner.runner import Runner  # noqa: E402
from ript.serve.inference import PolicyInference  # noqa: E402
from ript.simulators.metaworld.env import MetaWorldEnv  # noqa: E402
from ript.simulators.metaworld.simulator import MetaWorldSimulator  # noqa: E402
from ript.simulators.suite_runner import SuiteRunner  # noqa: E402
from ript.storage.batch import Batch  # noqa: E402
from ript.storage.windows import WindowCutter  # noqa: E402

TASK = "button-press-topdown-v3"


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two demonstrations, with images at every 40th step."""
    folder = tmp_path_factory.mktemp("demonstrations")
    few = "--demos-per-task 2 --image-size 24 --image-every 40 --workers 1"
    return collect(parse_arguments(["--suite", MT50, "--tasks", TASK, "--out", str(folder), *few.split()]))


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    options = {"num_parallel_envs": 1, "max_episode_length": 10, "open_loop": 5, "image_size": 24}
    made = SuiteRunner(MT50, task_names_to_use=TASK, **options)
    yield made
    made.close()


def test_a_demonstration_is_repeated_bit_for_bit_from_its_file(demonstrations: Path) -> None:
    (demonstration, _) = Demonstrations(demonstrations / f"{TASK}_demo.hdf5")
    env = MetaWorldEnv(MT50, sawyer.task_id(TASK), render_images=False)
    env.reset(demonstration.scene_seed or 0, demonstration.start_state, num_steps_wait=16)
    with h5py.File(demonstrations / f"{TASK}_demo.hdf5") as file:
        states = file["data/demo_0/states"][()]
        assert file["data"].attrs["env_name"] == TASK
    np.testing.assert_array_equal(env.scene.state(), states[0])
    assert not env.step_chunk(demonstration.actions[:-1], observe_last=False).success
    np.testing.assert_array_equal(env.scene.state(), states[-1])
    assert env.step_chunk(demonstration.actions[-1:], observe_last=False).success
    env.close()


def test_demonstrations_hold_this_robots_numbers_and_one_upright_camera(demonstrations: Path) -> None:
    found = Demonstrations(demonstrations / f"{TASK}_demo.hdf5")
    assert found.language == "Press a button from the top"
    for number, demonstration in enumerate(found):
        assert demonstration.actions.shape == demonstration.proprioception.shape == (len(demonstration), 4)
        images = found.images(number, 40)
        assert list(images) == ["base_0_rgb"] and images["base_0_rgb"].shape == (24, 24, 3)
    stats = compute_norm_stats(found)["norm_stats"]
    assert [len(stats[group]["mean"]) for group in ("state", "actions")] == [4, 4]


def test_windows_of_demonstrations_and_of_rollouts_give_losses_over_the_robots_own_dimensions(
    demonstrations: Path, runner: Runner, policy: PI0_OFT_Policy
) -> None:
    windows = [demonstration_windows(runner, policy, str(demonstrations))[0]]
    ((_, _, episode),) = runner.run_policy_in_env(TASK, policy, all_init_states=[None], scene_seeds=[1_000_000])
    assert episode.actions.shape == (10, 4) and episode.actions_normalized.shape == (2, policy.chunk_size, 4)
    windows += list(WindowCutter().cut(episode, 1.0, policy.norm_stats, policy.chunk_size))
    assert {window.actions.shape for window in windows} == {(policy.chunk_size, 4)}
    assert all(list(window.observation["image"]) == ["base_0_rgb"] for window in windows)
    loss = CFGFlowLoss()
    policy.model.zero_grad()
    losses = loss(policy, Batch.of(windows), (0,)).total
    assert losses.shape == (3,) and torch.isfinite(losses).all()
    losses.sum().backward()
    gradient = policy.model.action_out_proj.weight.grad
    assert (gradient[:4].abs().sum(dim=1) > 0).all() and (gradient[4:] == 0).all()
    policy.model.zero_grad()


def test_a_random_sampler_scores_the_robots_own_dimensions(runner: Runner, policy: PI0_OFT_Policy) -> None:
    actor = Actor(policy, Exploration(num_denoise_steps=2).at(0, policy))
    ((_, _, episode),) = runner.run_policy_in_env(TASK, actor, all_init_states=[None], scene_seeds=[1_000_000])
    log_prob = episode.decisions[0].log_prob
    assert log_prob is not None and log_prob.shape == (policy.chunk_size, 4)


def test_the_server_answers_with_the_actions_of_a_rollout(policy: PI0_OFT_Policy) -> None:
    adapter = MetaWorldSimulator(MT50).make_adapter(policy.norm_stats, policy.card.delta_actions)
    env = MetaWorldEnv(MT50, sawyer.task_id(TASK), image_size=24)
    raw = env.reset(3, num_steps_wait=16).observation
    env.close()
    seen = adapter.observe(raw, "Press a button from the top")
    inference = PolicyInference(policy, seed=1)
    assert (inference.metadata["state_dim"], inference.metadata["action_dim"]) == (4, 4)
    message = {
        "observation/image": seen["image"]["base_0_rgb"],
        "observation/state": adapter.raw_state(raw),
        "prompt": "Press a button from the top",
    }
    answer = inference.run(inference.read(message), 0)
    chunk = policy.select_action(collate_observations([seen]), noise=inference.noise(0))[0].numpy()
    np.testing.assert_allclose(answer, adapter.to_env(chunk, adapter.raw_state(raw)), atol=1e-6)
    np.testing.assert_allclose(adapter.to_labels(answer, adapter.raw_state(raw)), chunk, atol=1e-5)


def test_a_policy_of_two_cameras_or_of_another_robot_is_refused_in_one_line(
    runner: Runner, policy: PI0_OFT_Policy, tiny_policy: PI0_OFT_Policy, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"no camera for the policy's left_wrist_0_rgb; .* cameras to: base_0_rgb$"):
        runner.check_policy(tiny_policy)
    one_eyed = PI0_OFT_Policy(pretrained_path=str(tiny_policy.folder), cameras=["base_0_rgb"])
    with pytest.raises(
        ValueError, match=r"a state of 4 and actions of 4 numbers, the policy's statistics are of 8 and 7"
    ):
        runner.check_policy(one_eyed)
    runner.check_policy(policy)
    policy.save(tmp_path)
    assert json.loads((tmp_path / "policy.json").read_text())["cameras"] == ["base_0_rgb"]
    runner.check_policy(PI0_OFT_Policy(pretrained_path=str(tmp_path)))
