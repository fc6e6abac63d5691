"""Datasets of an independent writer (`lerobot_samples`), whole and damaged."""

import json
import multiprocessing
import re
from pathlib import Path
from types import SimpleNamespace

import lerobot_samples as samples
import numpy as np
import pyarrow.parquet as pq
import pytest

from ript.demonstrations.compute_norm_stats import compute_norm_stats, parse_arguments, write_norm_stats
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.lerobot.reader import LeRobotDataset
from ript.demonstrations.source import task_sources
from ript.demonstrations.window_loader import demonstration_windows
from ript.models.pi0.norm_stats import NormStats

SAMPLE = samples.Sample()
BOWL, DRAWER = samples.TASKS


@pytest.fixture(params=["v3", "v3 videos", "v2", "v2 videos"])
def dataset(request, tmp_path):
    write = samples.write_v3 if "v3" in request.param else samples.write_v2
    return write(tmp_path / "dataset", SAMPLE, videos="videos" in request.param)


def assert_holds_the_sample(root: Path, tolerance: int) -> None:
    for task, language in enumerate(samples.TASKS):
        demonstrations = LeRobotDataset(root).of_task(language)
        episodes = [number for number, own in enumerate(samples.TASK_OF) if own == task]
        assert demonstrations.numbers == tuple(episodes)
        for index, episode in enumerate(episodes):
            demonstration = demonstrations[index]
            np.testing.assert_array_equal(demonstration.actions, SAMPLE.actions[episode])
            np.testing.assert_array_equal(demonstration.proprioception, SAMPLE.states[episode])
            for step in reversed(range(len(demonstration))):
                images = demonstrations.images(index, step)
                shown = np.stack([images["base_0_rgb"], images["left_wrist_0_rgb"]]).astype(int)
                assert np.abs(shown - SAMPLE.images[episode][step]).max() <= tolerance


def test_a_dataset_is_read_frame_by_frame(dataset):
    is_lossy = (dataset / "videos").exists()
    assert_holds_the_sample(dataset, 12 if is_lossy else 0)


def test_version_2_0_is_read(tmp_path):
    assert_holds_the_sample(samples.write_v2(tmp_path / "d", SAMPLE, version="v2.0"), 0)


def test_windows_hold_the_actions_that_followed_and_padding_after_the_end(tmp_path):
    source = LeRobotDataset(samples.write_v3(tmp_path / "d", SAMPLE)).of_task(BOWL)
    stats = NormStats.from_content(tmp_path / "s", compute_norm_stats(source), "z_score")
    windows = DemonstrationWindows([source], stats, horizon=5)
    assert len(windows) == 7 + 6
    window = windows[7 + 3]
    np.testing.assert_array_equal(window.actions[:3], stats.actions.normalize(SAMPLE.actions[2][3:]))
    assert window.action_is_pad.tolist() == [False] * 3 + [True] * 2
    np.testing.assert_array_equal(window.observation["image"]["base_0_rgb"], SAMPLE.images[2][3, 0])


def test_a_folder_is_recognised_as_a_dataset(tmp_path):
    folder = samples.write_v2(tmp_path / "d", SAMPLE)
    sources = task_sources(str(folder), {"a": f" {BOWL.upper()} ", "b": DRAWER})
    assert [len(source) for source in sources.values()] == [2, 1]


def test_images_are_read_in_a_forked_process(tmp_path):
    source = LeRobotDataset(samples.write_v3(tmp_path / "d", SAMPLE, videos=True)).of_task(BOWL)
    here = source.images(1, 2)["base_0_rgb"]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        there = pool.apply(source.images, (1, 2))["base_0_rgb"]
    np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize(("gripper", "commands"), [("1_open", [-1, 1]), ("0_open", [1, -1]), ("-1_open", [1, 0])])
def test_gripper_commands_from_0_to_1_are_refused_until_one_says_what_they_mean(tmp_path, gripper, commands):
    sample = samples.Sample()
    for actions in sample.actions:
        actions[:, 6] = np.arange(len(actions)) % 2 == 0
    root = samples.write_v3(tmp_path / "d", sample)
    with pytest.raises(ValueError, match=r"info\.json: features\[action\].*lerobot_features\.gripper"):
        LeRobotDataset(root)
    demonstration = LeRobotDataset(root, {"gripper": gripper}).of_task(BOWL)[0]
    assert demonstration.actions[:2, 6].tolist() == commands
    np.testing.assert_array_equal(demonstration.actions[:, :6], sample.actions[0][:, :6])


def test_upside_down_images_are_turned(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    turned = LeRobotDataset(root, {"upside_down": True}).of_task(BOWL).images(0, 0)["base_0_rgb"]
    np.testing.assert_array_equal(turned, SAMPLE.images[0][0, 0, ::-1, ::-1])


def change_info(root: Path, **changes) -> None:
    path = root / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rename(root: Path, old: str, new: str) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    change_info(root, features={new if name == old else name: feature for name, feature in features.items()})
    for path in (root / "data").rglob("*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([new if name == old else name for name in table.column_names]), path)


def test_a_feature_of_another_name_is_asked_for_and_taken(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    rename(root, "observation.state", "observation.pose")
    with pytest.raises(ValueError, match=r"no exact\.state or observation\.state or state for state; it has .*\.pose"):
        LeRobotDataset(root)
    found = LeRobotDataset(root, {"state": "observation.pose"}).of_task(BOWL)[0]
    np.testing.assert_array_equal(found.proprioception, SAMPLE.states[0])


def test_options_of_features_are_checked(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    with pytest.raises(ValueError, match=r"key of lerobot_features='sate' is not valid; did you mean state\?"):
        LeRobotDataset(root, {"sate": "x"})
    with pytest.raises(ValueError, match=r"lerobot_features\.gripper='open' is not valid"):
        LeRobotDataset(root, {"gripper": "open"})


def damaged(name: str, root: Path) -> None:
    data, meta = root / "data/chunk-000/file-001.parquet", root / "meta/episodes/chunk-000/file-000.parquet"
    if name == "truncated parquet":
        data.write_bytes(data.read_bytes()[:-40])
    elif name == "truncated metadata":
        meta.write_bytes(meta.read_bytes()[:100])
    elif name == "missing parquet":
        data.unlink()
    elif name == "missing column":
        pq.write_table(pq.read_table(data).drop_columns(["action"]), data)
    elif name == "missing rows":
        pq.write_table(pq.read_table(data).slice(0, 5), data)
    elif name == "unknown version":
        change_info(root, codebase_version="v4.0")
    elif name == "missing key":
        change_info(root, features=None)
    elif name in ("narrow state", "flat image"):
        features = json.loads((root / "meta/info.json").read_text())["features"]
        features["observation.state" if "state" in name else "observation.images.image"]["shape"] = [9]
        change_info(root, features=features)
    elif name == "narrow rows":
        table = pq.read_table(data)
        place = table.column_names.index("action")
        pq.write_table(table.set_column(place, "action", table["observation.state"]), data)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated parquet", r"data/chunk-000/file-001\.parquet: not a readable parquet file"),
        ("truncated metadata", r"meta/episodes/chunk-000/file-000\.parquet: not a readable parquet file"),
        ("missing parquet", r"frames of episode 2 not found: .*file-001\.parquet"),
        ("missing column", r"file-001\.parquet: column action is missing"),
        ("missing rows", r"file-001\.parquet: episode_index: rows 0 to 5 are not those of episode 2"),
        ("unknown version", r"info\.json: codebase_version='v4\.0' is not valid.*Valid: v3\.0, v2\.1, v2\.0"),
        ("missing key", r"info\.json: features must be an object"),
        ("narrow state", r"info\.json: features\[observation\.state\] is \[9\] float32, expected \[8\]"),
        ("flat image", r"info\.json: features\[observation\.images\.image\] is \[9\] image, expected \[H, W, 3\]"),
        ("narrow rows", r"file-001\.parquet: action is not 7 numbers in each of its 6 rows"),
    ],
)
def test_damage_is_one_line_that_names_file_and_key(tmp_path, name, message):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    damaged(name, root)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        LeRobotDataset(root)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_video_names_file_and_camera(tmp_path):
    root = samples.write_v2(tmp_path / "d", SAMPLE, videos=True)
    (root / "videos/chunk-000/wrist_image/episode_000001.mp4").unlink()
    with pytest.raises(FileNotFoundError, match=r"video wrist_image of episode 1 not found: .*episode_000001\.mp4"):
        LeRobotDataset(root)


@pytest.mark.parametrize("keep", [0, 700])
def test_a_truncated_video_names_file_camera_and_time(tmp_path, keep):
    root = samples.write_v2(tmp_path / "d", SAMPLE, videos=True)
    path = root / "videos/chunk-000/image/episode_000001.mp4"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"episode_000001\.mp4: image, second 0\.300: no readable frame") as caught:
        LeRobotDataset(root).of_task(DRAWER).images(0, 3)
    assert "\n" not in str(caught.value)


def test_an_image_that_is_none_names_file_column_and_row(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    path = root / "data/chunk-000/file-001.parquet"
    content = path.read_bytes()
    path.write_bytes(re.sub(rb"\x89PNG", b"\x88PNG", content))
    with pytest.raises(ValueError, match=r"file-001\.parquet: observation\.images\.image, row 2: no readable image"):
        LeRobotDataset(root).of_task(BOWL).images(1, 2)


def test_a_task_that_the_dataset_lacks_lists_those_it_has(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    with pytest.raises(
        ValueError, match=r"no episode of the task 'fly'\. Tasks: put the bowl on the plate; open the dra"
    ):
        LeRobotDataset(root).of_task("fly")


def test_start_states_are_asked_for_where_there_are_none(tmp_path):
    source = LeRobotDataset(samples.write_v3(tmp_path / "d", SAMPLE)).of_task(BOWL)
    with pytest.raises(ValueError, match=r"episode_0 has no start state"):
        source.starts()


def test_statistics_are_computed_or_taken_from_the_metadata(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    arguments = ["--data", str(root), "--out", str(tmp_path / "stats.json")]
    write_norm_stats(parse_arguments(arguments))
    computed = json.loads((tmp_path / "stats.json").read_text())["norm_stats"]
    every = np.concatenate(SAMPLE.actions).astype(np.float64)
    np.testing.assert_allclose(computed["actions"]["mean"], every.mean(0), rtol=1e-12)
    np.testing.assert_allclose(computed["actions"]["q99"], np.quantile(every, 0.99, axis=0), rtol=1e-12)
    with pytest.raises(FileNotFoundError, match=r"statistics of the dataset not found: .*stats\.json"):
        write_norm_stats(parse_arguments([*arguments, "--from-metadata"]))
    theirs = {name: np.full(w, 0.5).tolist() for name, w in (("mean", 8), ("std", 8), ("q01", 8))}
    content = {"observation.state": theirs | {"q99": [1.0] * 8}, "action": {k: v[:7] for k, v in theirs.items()}}
    (root / "meta/stats.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"stats\.json: key action\.q99 is missing; compute"):
        write_norm_stats(parse_arguments([*arguments, "--from-metadata"]))
    content["action"]["q99"] = [2.0] * 7
    (root / "meta/stats.json").write_text(json.dumps(content))
    write_norm_stats(parse_arguments([*arguments, "--from-metadata"]))
    taken = json.loads((tmp_path / "stats.json").read_text())["norm_stats"]
    assert taken == {"state": content["observation.state"], "actions": content["action"]}


def test_tasks_of_one_instruction_count_once(tmp_path):
    root = samples.write_v3(tmp_path / "d", SAMPLE)
    stats = NormStats.from_content(tmp_path / "s", compute_norm_stats(LeRobotDataset(root)), "z_score")
    policy = SimpleNamespace(
        norm_stats=stats,
        chunk_size=5,
        card=SimpleNamespace(delta_actions=False, cameras=("base_0_rgb", "left_wrist_0_rgb")),
    )
    languages = (BOWL, DRAWER, BOWL)
    benchmark = SimpleNamespace(get_task_id=int, get_language=lambda task: languages[task])
    runner = SimpleNamespace(benchmark=benchmark, task_names=["0", "1", "2"])
    windows = demonstration_windows(runner, policy, str(root))
    assert len(windows) == sum(samples.LENGTHS)
    prompts = [windows[index].observation["prompt"] for index in range(len(windows))]
    assert prompts == [BOWL] * (7 + 6) + [DRAWER] * 4
