"""The whole way on the real ManiSkill: demonstrations, windows, losses, the server's answer, and what is refused."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import panda
import pytest
import torch

panda.need_maniskill()

from ript.algos.losses.cfg_flow import CFGFlowLoss  # noqa: E402
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy  # noqa: E402
from ript.demonstrations.perturbation import DEMONSTRATION_SEED  # noqa: E402
from ript.demonstrations.reader import Demonstrations  # noqa: E402
from ript.demonstrations.recording import write_recording  # noqa: E402
from ript.demonstrations.task_demonstrator import DemonstratorSettings  # noqa: E402
from ript.demonstrations.window_loader import demonstration_windows  # noqa: E402
from ript.env_runner.pi0_io import collate_observations  # noqa: E402
from ript.serve.inference import PolicyInference  # noqa: E402
from ript.simulators.maniskill.demonstrator import Demonstrator  # noqa: E402
from ript.simulators.maniskill.env import ManiSkillEnv  # noqa: E402
from ript.simulators.maniskill.simulator import ManiSkillSimulator  # noqa: E402
from ript.simulators.suite_runner import SuiteRunner  # noqa: E402
from ript.storage.batch import Batch  # noqa: E402

TASK = "PushCube-v1"


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> PI0_OFT_Policy:
    """The small π0 with random weights, for ManiSkill's robot."""
    stats = panda.write_stats(tmp_path_factory.mktemp("stats") / "norm_stats.json")
    return PI0_OFT_Policy(random_weights=True, norm_stats_path=str(stats), cameras=["base_0_rgb"])


@pytest.fixture(scope="module")
def demonstration_file(tmp_path_factory: pytest.TempPathFactory, seeing: ManiSkillEnv) -> Path:
    """A demonstration, with images at every 10th step."""
    recording, success = Demonstrator(DemonstratorSettings(panda.SUITE, image_size=48, image_every=10)).record(
        seeing, DEMONSTRATION_SEED
    )
    assert success
    path = tmp_path_factory.mktemp("demonstrations") / f"{TASK}_demo.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs.update(ManiSkillSimulator(panda.SUITE).file_attributes(panda.task_id(TASK)))
        write_recording(data.create_group("demo_0"), recording)
    return path


def test_a_demonstration_is_repeated_bit_for_bit_from_its_file(demonstration_file: Path, blind: ManiSkillEnv) -> None:
    (demonstration,) = Demonstrations(demonstration_file)
    blind.load_task(panda.task_id(TASK))
    blind.reset(0, demonstration.start_state)
    with h5py.File(demonstration_file) as file:
        states = file["data/demo_0/states"][()]
    np.testing.assert_array_equal(blind.scene.state(), states[0])
    assert not blind.step_chunk(demonstration.actions[:-1], observe_last=False).success
    np.testing.assert_array_equal(blind.scene.state(), states[-1])
    assert blind.step_chunk(demonstration.actions[-1:], observe_last=False).success


def test_windows_of_demonstrations_give_losses_over_the_robots_own_dimensions(
    demonstration_file: Path, policy: PI0_OFT_Policy, seeing: ManiSkillEnv
) -> None:
    (demonstration,) = Demonstrations(demonstration_file)
    assert demonstration.actions.shape == (len(demonstration), 7)
    assert demonstration.proprioception.shape == (len(demonstration), 9)
    runner = SuiteRunner(panda.SUITE, task_names_to_use=TASK, image_size=48)
    runner.check_policy(policy)
    windows = demonstration_windows(runner, policy, str(demonstration_file.parent))
    window = windows[0]
    seen: Any = window.observation["image"]
    np.testing.assert_array_equal(seen["base_0_rgb"], seeing.reset(DEMONSTRATION_SEED).observation["base_camera_image"])
    loss = CFGFlowLoss()(policy, Batch.of([window]), (0,)).total
    assert loss.shape == (1,) and torch.isfinite(loss).all()
    policy.model.zero_grad()
    loss.sum().backward()
    gradient = policy.model.action_out_proj.weight.grad
    assert (gradient[:7].abs().sum(dim=1) > 0).all() and (gradient[7:] == 0).all()
    policy.model.zero_grad()


def test_the_server_answers_with_the_actions_of_a_rollout(policy: PI0_OFT_Policy, seeing: ManiSkillEnv) -> None:
    adapter = ManiSkillSimulator(panda.SUITE).make_adapter(policy.norm_stats, policy.card.delta_actions)
    raw = seeing.reset(3).observation
    seen = adapter.observe(raw, "Push the blue cube onto the target")
    inference = PolicyInference(policy, seed=1)
    assert (inference.metadata["state_dim"], inference.metadata["action_dim"]) == (9, 7)
    message = {
        "observation/image": seen["image"]["base_0_rgb"],
        "observation/state": adapter.raw_state(raw),
        "prompt": seen["prompt"],
    }
    answer = inference.run(inference.read(message), 0)
    chunk = policy.select_action(collate_observations([seen]), noise=inference.noise(0))[0].numpy()
    np.testing.assert_allclose(answer, adapter.to_env(chunk, adapter.raw_state(raw)), atol=1e-6)
    np.testing.assert_allclose(adapter.to_labels(answer, adapter.raw_state(raw)), chunk, atol=1e-5)


@pytest.mark.slow
def test_a_group_in_processes_of_their_own_starts_in_one_scene(policy: PI0_OFT_Policy, seeing: ManiSkillEnv) -> None:
    runner = SuiteRunner(
        panda.SUITE, task_names_to_use=TASK, num_parallel_envs=2, max_episode_length=10, open_loop=5, image_size=24
    )
    played = list(runner.run_policy_in_env(TASK, policy, all_init_states=[None] * 2, scene_seeds=[1_000_000] * 2))
    runner.close()
    assert len({episode.init_hash for _, _, episode in played}) == 1
    assert {episode.actions.shape for _, _, episode in played} == {(10, 7)}
