import json

import h5py
import numpy as np
import pytest
import torch

from ript.demonstrations.compute_norm_stats import compute_norm_stats
from ript.demonstrations.demonstration_files import write_part
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.reader import Demonstrations
from ript.env_runner.pi0_runner_utils import actions_to_env
from ript.models.pi0.norm_stats import NormStats
from ript.storage.augment import Augmentation
from ript.storage.batch import Batch
from ript.storage.prefix_store import encode_windows

HORIZON = 5


@pytest.fixture
def demonstrations(official_file):
    return Demonstrations(official_file)


@pytest.fixture
def norm_stats(demonstrations, tmp_path):
    path = tmp_path / "norm_stats.json"
    path.write_text(json.dumps(compute_norm_stats(demonstrations)))
    return NormStats.load(path)


@pytest.mark.parametrize("delta_actions", [False, True])
def test_labels_invert_to_the_actions(demonstrations, norm_stats, delta_actions):
    windows = DemonstrationWindows([demonstrations], norm_stats, HORIZON, delta_actions)
    assert len(windows) == 7 + 8
    for window in (windows[index] for index in range(len(windows))):
        demo = demonstrations[window.episode_id]
        start_state = demo.proprioception[window.start] if delta_actions else None
        actions = actions_to_env(window.actions, norm_stats, start_state)[~window.action_is_pad]
        np.testing.assert_allclose(actions, demo.actions[window.start : window.start + HORIZON], atol=1e-6)
        assert window.actions.shape == (HORIZON, 7)
        assert (window.actions[window.action_is_pad] == 0).all()
        assert window.action_is_pad.sum() == max(0, window.start + HORIZON - len(demo))


def test_observations_are_those_a_policy_gets(demonstrations, norm_stats, official_file):
    window = DemonstrationWindows([demonstrations], norm_stats, HORIZON)[9]
    assert (window.episode_id, window.start) == (1, 2)
    with h5py.File(official_file) as file:
        obs = file["data/demo_1/obs"]
        state = np.concatenate([obs["ee_pos"][2], obs["ee_ori"][2], obs["gripper_states"][2]])
        np.testing.assert_array_equal(window.observation["state"], norm_stats.state.normalize(state))
        images = window.observation["image"]
        np.testing.assert_array_equal(images["base_0_rgb"], obs["agentview_rgb"][2][::-1, ::-1])
        np.testing.assert_array_equal(images["left_wrist_0_rgb"], obs["eye_in_hand_rgb"][2][::-1, ::-1])
    assert window.observation["prompt"] == "put the bowl on the plate"


def test_images_of_any_sizes_learn_together_each_fitted_as_the_policy_fits_it_alone(
    official_file, norm_stats, tiny_policy
):
    larger = official_file.with_name("larger.hdf5")
    larger.write_bytes(official_file.read_bytes())
    with h5py.File(larger, "a") as file:
        for demo in file["data"].values():
            for camera in ("agentview_rgb", "eye_in_hand_rgb"):
                images = demo["obs"][camera][()].repeat(5, axis=1).repeat(6, axis=2)
                del demo["obs"][camera]
                demo["obs"][camera] = images
    sources = [Demonstrations(official_file), Demonstrations(larger)]
    windows = DemonstrationWindows(sources, norm_stats, prompts=["tidy up"] * 2)
    batch = Augmentation(shift=1).batch(Batch.of([windows[0], windows[20], windows[1]]), (0,))
    sizes = {window.observation["image"]["base_0_rgb"].shape for window in batch.windows}
    assert sizes == {(8, 8, 3), (40, 48, 3)}
    together = encode_windows(tiny_policy, batch.windows).prefix.rows()
    for window, row in zip(batch.windows, together, strict=True):
        (alone,) = encode_windows(tiny_policy, [window]).prefix.rows()
        torch.testing.assert_close(row.keys_values[0][0], alone.keys_values[0][0], atol=1e-5, rtol=1e-5)


def test_windows_start_where_there_are_images(make_recording, official_file, norm_stats):
    with h5py.File(official_file, "a") as file:
        write_part(official_file.with_name("part.hdf5"), make_recording(0, length=12, image_every=5))
        with h5py.File(official_file.with_name("part.hdf5")) as part:
            file.copy(part["demo"], file["data"], "demo_2")
    windows = DemonstrationWindows([Demonstrations(official_file)], norm_stats)
    assert [window.start for window in map(windows.__getitem__, range(15, len(windows)))] == [0, 5, 10]


def test_prompts_can_replace_the_instruction(demonstrations, norm_stats):
    windows = DemonstrationWindows([demonstrations], norm_stats, prompts=["tidy up"])
    assert windows[0].observation["prompt"] == "tidy up"
    with pytest.raises(ValueError, match="2 prompts for 1 files"):
        DemonstrationWindows([demonstrations], norm_stats, prompts=["tidy up", "do"])


def test_a_file_without_an_instruction_needs_a_prompt(official_file, norm_stats):
    with h5py.File(official_file, "a") as file:
        del file["data"].attrs["problem_info"]
    source = Demonstrations(official_file)
    assert DemonstrationWindows([source], norm_stats, prompts=["tidy up"])[0].observation["prompt"] == "tidy up"
    with pytest.raises(ValueError, match=f"{official_file.name}: .*problem_info"):
        DemonstrationWindows([source], norm_stats)


def test_demonstrations_without_images_are_refused(official_file, norm_stats):
    with h5py.File(official_file, "a") as file:
        for demo in file["data"].values():
            demo["obs/image_steps"] = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match=f"no demonstration has images .*{official_file.name}"):
        DemonstrationWindows([Demonstrations(official_file)], norm_stats)
