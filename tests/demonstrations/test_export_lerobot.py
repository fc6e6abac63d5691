import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from ript.demonstrations.compute_norm_stats import compute_norm_stats
from ript.demonstrations.demonstration_files import write_part
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.export_lerobot import export, parse_arguments
from ript.demonstrations.lerobot.reader import LeRobotDataset
from ript.demonstrations.lerobot.writer import DatasetWriter
from ript.demonstrations.reader import Demonstrations
from ript.models.pi0.norm_stats import NormStats

LANGUAGE = "put the bowl on the plate"


def exported(file: Path, out: Path, *options: str) -> Path:
    export(parse_arguments(["--data", str(file), "--out", str(out), *options]))
    return out


@pytest.fixture
def sparse_file(tmp_path, make_recording):
    """A collected file: an image at every fifth step, a scene seed."""
    write_part(tmp_path / "part.hdf5", make_recording())
    path = tmp_path / "lift_it_demo.hdf5"
    with h5py.File(path, "w") as file, h5py.File(tmp_path / "part.hdf5") as part:
        part.copy("demo", file.create_group("data"), "demo_0")
        file["data"].attrs["problem_info"] = json.dumps({"language_instruction": "lift it"})
    (tmp_path / "part.hdf5").unlink()
    return path


def assert_same_windows(sources, tmp_path, delta_actions):
    stats = NormStats.from_content(tmp_path / "s", compute_norm_stats(sources[0]), "quantile")
    there, back = (DemonstrationWindows([source], stats, 5, delta_actions) for source in sources)
    assert len(there) == len(back) > 0
    for a, b in ((there[index], back[index]) for index in range(len(there))):
        assert (a.episode_id, a.start, a.advantage) == (b.episode_id, b.start, b.advantage)
        assert a.observation["prompt"] == b.observation["prompt"]
        np.testing.assert_array_equal(a.actions, b.actions)
        np.testing.assert_array_equal(a.action_is_pad, b.action_is_pad)
        np.testing.assert_array_equal(a.observation["state"], b.observation["state"])
        for camera, image in a.observation["image"].items():
            np.testing.assert_array_equal(image, b.observation["image"][camera])


@pytest.mark.parametrize("delta_actions", [False, True])
def test_windows_of_an_export_are_those_of_the_hdf5_file_bit_for_bit(official_file, tmp_path, delta_actions):
    root = exported(official_file, tmp_path / "out")
    sources = Demonstrations(official_file), LeRobotDataset(root).of_task(LANGUAGE)
    assert_same_windows(sources, tmp_path, delta_actions)


def test_steps_without_images_are_exported_on_demand_only(sparse_file, tmp_path):
    with pytest.raises(ValueError, match=r"lift_it_demo\.hdf5: demo_0: no image at step 1 \(9 of 12.*--missing-images"):
        exported(sparse_file, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
    root = exported(sparse_file, tmp_path / "out", "--missing-images")
    assert_same_windows((Demonstrations(sparse_file), LeRobotDataset(root).of_task("lift it")), tmp_path, False)


def test_start_states_come_back(sparse_file, tmp_path):
    root = exported(sparse_file, tmp_path / "out", "--missing-images")
    (start,) = LeRobotDataset(root).of_task("another wording", task="lift_it").starts()
    (wanted,) = Demonstrations(sparse_file).starts()
    np.testing.assert_array_equal(start.init_state, wanted.init_state)
    assert start.scene_seed == wanted.scene_seed == 3_000_000_000


def test_videos_show_nearly_the_same(official_file, tmp_path):
    with h5py.File(official_file, "r+") as file:  # a smooth picture: noise cannot be compressed
        for demo in file["data"].values():
            for step in range(len(demo["actions"])):
                ramp = np.linspace(20 * step, 255, 8, dtype=np.uint8)
                demo["obs/agentview_rgb"][step] = ramp[:, None, None]
    root = exported(official_file, tmp_path / "out", "--videos")
    there, back = Demonstrations(official_file), LeRobotDataset(root).of_task(LANGUAGE)
    for index, step in ((0, 0), (1, 7), (1, 3)):
        a, b = (source.images(index, step)["base_0_rgb"].astype(int) for source in (there, back))
        assert np.abs(a - b).mean() < 4


def test_metadata_say_where_episodes_are_and_what_the_numbers_are(official_file, tmp_path):
    root = exported(official_file, tmp_path / "out")
    episodes = pq.read_table(root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(e["dataset_from_index"], e["dataset_to_index"], e["length"]) for e in episodes] == [(0, 7, 7), (7, 15, 8)]
    frames = pq.read_table(root / "data/chunk-000/file-000.parquet")
    assert frames["index"].to_pylist() == list(range(15))
    assert frames["next.reward"].to_pylist() == [float(step in (6, 14)) for step in range(15)]
    demonstrations = list(Demonstrations(official_file))
    actions = np.concatenate([demo.actions for demo in demonstrations]).astype(np.float32).astype(np.float64)
    stats = json.loads((root / "meta/stats.json").read_text())
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0), rtol=1e-12)
    np.testing.assert_allclose(stats["action"]["q90"], np.quantile(actions, 0.9, axis=0), rtol=1e-12)
    assert stats["action"]["count"] == [15]
    with h5py.File(official_file) as file:
        pixels = np.concatenate([demo["obs/agentview_rgb"][:] for demo in file["data"].values()]) / 255
    found = stats["observation.images.image"]
    wanted = {
        "min": pixels.min((0, 1, 2)),
        "max": pixels.max((0, 1, 2)),
        "mean": pixels.mean((0, 1, 2)),
        "std": pixels.std((0, 1, 2)),
        "q10": np.quantile(pixels, 0.1, axis=(0, 1, 2), method="inverted_cdf"),
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(found[name], values.reshape(3, 1, 1), atol=1e-9)


def test_an_export_that_fails_leaves_nothing_behind(official_file, tmp_path):
    with pytest.raises(KeyboardInterrupt), DatasetWriter(tmp_path / "out", 20):
        raise KeyboardInterrupt
    assert not list(tmp_path.glob("out*"))


def test_an_existing_folder_is_left_alone(official_file, tmp_path):
    with pytest.raises(ValueError, match="out exists; choose another"):
        (tmp_path / "out").mkdir()
        exported(official_file, tmp_path / "out")
