import pickle
import shutil

import h5py
import numpy as np
import pytest

from ript.demonstrations.demonstration_files import TaskFile, Try, write_part
from ript.demonstrations.reader import Demonstrations, find_demonstrations
from ript.simulators.libero.task_attributes import task_attributes

SETTINGS = {"suite": "libero_spatial", "seed": 0, "image_every": 5}


@pytest.fixture
def task_file(tmp_path):
    return open_task_file(tmp_path)


def open_task_file(folder, **changes):
    bddl_file = folder / "task.bddl"
    bddl_file.write_text("(define (problem LIBERO_Tabletop_Manipulation)\n  (:domain robosuite)\n)")
    return TaskFile(
        folder / "task_demo.hdf5", task_attributes(bddl_file, "put the bowl on the plate"), SETTINGS | changes
    )


def add(task_file, recording, success=True):
    task_file.prepare()
    if success:
        write_part(task_file.part(recording.number), recording)
    task_file.add(Try(recording.number, recording.scene_seed, recording.noise, success, len(recording), 1.5))


def test_what_is_written_is_read_back(task_file, make_recording):
    recordings = [make_recording(0), make_recording(2, length=9)]
    for recording in recordings:
        add(task_file, recording)
    add(task_file, make_recording(1), success=False)
    task_file.merge()

    demonstrations = Demonstrations(task_file.path)
    assert demonstrations.language == "put the bowl on the plate"
    assert [len(demo) for demo in demonstrations] == [12, 9]
    for index, (demo, recording) in enumerate(zip(demonstrations, recordings, strict=True)):
        np.testing.assert_array_equal(demo.actions, recording.rows["actions"])
        np.testing.assert_array_equal(demo.proprioception[:, :6], recording.rows["obs/ee_states"])
        np.testing.assert_array_equal(demo.proprioception[:, 6:], recording.rows["obs/gripper_states"])
        np.testing.assert_array_equal(demo.start_state, recording.init_state)
        assert demo.scene_seed == recording.scene_seed
        assert demo.image_steps.tolist() == recording.image_steps
        for row, step in enumerate(demo.image_steps):
            image = demonstrations.images(index, int(step))["base_0_rgb"]
            np.testing.assert_array_equal(image, np.rot90(recording.images["agentview_rgb"][row], 2))


def test_a_written_file_has_what_the_official_files_have(task_file, official_file, make_recording):
    add(task_file, make_recording(0))
    task_file.merge()
    with h5py.File(task_file.path) as ours, h5py.File(official_file) as official:
        assert set(official["data"].attrs) <= set(ours["data"].attrs)
        assert set(official["data/demo_0"].attrs) <= set(ours["data/demo_0"].attrs)
        names: list[str] = []
        official["data/demo_0"].visit(names.append)
        for name in names:
            theirs, written = official["data/demo_0"][name], ours["data/demo_0"][name]
            if isinstance(theirs, h5py.Dataset):
                assert written.shape[1:] == theirs.shape[1:], name
                assert written.dtype == theirs.dtype, name
        assert str(task_file.path.parent) not in "".join(map(str, ours["data"].attrs.values()))


def test_an_official_file_is_read_with_an_image_at_every_step(official_file):
    demonstrations = Demonstrations(official_file)
    assert [len(demo) for demo in demonstrations] == [7, 8]
    assert demonstrations[1].image_steps.tolist() == list(range(8))
    assert demonstrations[0].scene_seed is None
    with h5py.File(official_file) as file:
        np.testing.assert_array_equal(demonstrations[0].start_state, file["data/demo_0/states"][0])
        stored = file["data/demo_1/obs/eye_in_hand_rgb"][3]
        np.testing.assert_array_equal(demonstrations.images(1, 3)["left_wrist_0_rgb"], np.rot90(stored, 2))
    assert [start.init_state.shape for start in demonstrations.starts()] == [(20,), (20,)]


def test_demonstrations_are_in_the_order_of_their_numbers(task_file, make_recording):
    for number in range(12):
        add(task_file, make_recording(number))
    task_file.merge()
    assert [demo.scene_seed - 3_000_000_000 for demo in Demonstrations(task_file.path)] == list(range(12))


def test_a_reader_can_be_sent_to_another_process(official_file):
    demonstrations = Demonstrations(official_file)
    demonstrations.images(0, 0)
    copy = pickle.loads(pickle.dumps(demonstrations))
    np.testing.assert_array_equal(copy.images(0, 2)["base_0_rgb"], demonstrations.images(0, 2)["base_0_rgb"])


def test_a_step_without_image_is_named(task_file, make_recording):
    add(task_file, make_recording(0))
    task_file.merge()
    with pytest.raises(KeyError, match="demo_0 has no image at step 3"):
        Demonstrations(task_file.path).images(0, 3)


def _delete(key):
    def spoil(file):
        del file[key]

    return spoil


def _replace(key, change):
    def spoil(file):
        array = change(file[key][()])
        del file[key]
        file[key] = array

    return spoil


def _with_nan(array):
    array[3, 0] = np.nan
    return array


def _without_demos(file):
    for name in list(file["data"]):
        del file["data"][name]


def _with_problem_info(text):
    def spoil(file):
        file["data"].attrs["problem_info"] = text

    return spoil


def _renamed(names):
    def spoil(file):
        for before, after in names.items():
            file["data"].move(before, after)

    return spoil


BAD = {
    "no demos": (_without_demos, "data holds no demonstrations"),
    "no data": (_delete("data"), "data holds no demonstrations"),
    "no actions": (_delete("data/demo_1/actions"), "data/demo_1/actions is missing"),
    "no camera": (_delete("data/demo_0/obs/agentview_rgb"), "data/demo_0/obs/agentview_rgb is missing"),
    "narrow actions": (_replace("data/demo_0/actions", lambda a: a[:, :6]), r"data/demo_0/actions has shape \(7, 6\)"),
    "short states": (_replace("data/demo_0/states", lambda a: a[:5]), "data/demo_0/states has 5 rows"),
    "few images": (_replace("data/demo_1/obs/eye_in_hand_rgb", lambda a: a[:5]), "data/demo_1/obs/eye_in_hand_rgb is"),
    "float images": (_replace("data/demo_0/obs/agentview_rgb", lambda a: a / 255), "data/demo_0/obs/agentview_rgb is"),
    "no pixels": (_replace("data/demo_0/obs/agentview_rgb", lambda a: a[:, :0]), "data/demo_0/obs/agentview_rgb is"),
    "NaN": (_replace("data/demo_1/obs/ee_states", _with_nan), "data/demo_1/obs/ee_states holds NaN"),
    "no language": (_with_problem_info('{"problem_name": "x"}'), "has no language_instruction"),
    "no JSON": (_with_problem_info("put it there"), "has no language_instruction"),
    "only others": (_renamed({"demo_0": "mask", "demo_1": "episode_1"}), "holds no demonstrations demo_<number>"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name_and_key(official_file, name):
    spoil, message = BAD[name]
    with h5py.File(official_file, "a") as file:
        spoil(file)
    with pytest.raises(ValueError, match=f"{official_file.name}.*{message}"):
        Demonstrations(official_file)


def test_a_file_without_attributes_as_openvlas_script_writes_it_is_read(official_file):
    with h5py.File(official_file, "a") as file:
        for node in (file["data"], file["data/demo_0"], file["data/demo_1"]):
            for name in list(node.attrs):
                del node.attrs[name]
        file["data"].move("demo_1", "demo_4")  # it leaves out what failed
        first = file["data/demo_4/states"][0]
    demonstrations = Demonstrations(official_file)
    assert demonstrations.language is None
    assert [demo.name for demo in demonstrations] == ["demo_0", "demo_4"]
    np.testing.assert_array_equal(demonstrations[1].start_state, first)


def test_what_lies_beside_the_demonstrations_is_left_out_and_named(official_file, caplog):
    with h5py.File(official_file, "a") as file:
        file["data/mask/train"] = np.array([b"demo_0"])
    assert len(Demonstrations(official_file)) == 2
    assert f"{official_file}: data/mask left out" in caplog.text


def test_hidden_files_of_macos_are_no_demonstrations(official_file):
    official_file.with_name(f"._{official_file.name}").write_bytes(b"\0\5\x16\7")
    assert find_demonstrations([official_file.parent]) == [official_file]


def test_a_truncated_file_is_refused(official_file):
    content = official_file.read_bytes()
    official_file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=f"{official_file.name}: not a readable HDF5 file"):
        Demonstrations(official_file)


def test_something_else_is_refused(official_file):
    official_file.write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=f"{official_file.name}: not a readable HDF5 file"):
        Demonstrations(official_file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no_demo\.hdf5"):
        Demonstrations(tmp_path / "no_demo.hdf5")
    with pytest.raises(FileNotFoundError, match="no demonstrations"):
        find_demonstrations([tmp_path])


def test_parts_survive_until_they_are_merged_and_are_not_read_before(tmp_path, make_recording):
    add(open_task_file(tmp_path), make_recording(0))
    again = open_task_file(tmp_path)
    assert set(again.tries) == {0}
    add(again, make_recording(1), success=False)
    again.merge()
    assert set(open_task_file(tmp_path).tries) == {0, 1}
    assert len(Demonstrations(again.path)) == 1
    assert find_demonstrations([tmp_path]) == [again.path]
    assert not again.parts.exists()


def test_a_file_grows_and_keeps_what_it_had(tmp_path, make_recording):
    for number in range(2):
        task_file = open_task_file(tmp_path)
        add(task_file, make_recording(number))
        task_file.merge()
    demonstrations = Demonstrations(task_file.path)
    assert len(demonstrations) == 2
    np.testing.assert_array_equal(demonstrations[0].actions, make_recording(0).rows["actions"])


def test_a_merge_killed_before_it_cleaned_up_repeats_nothing(tmp_path, make_recording):
    task_file = open_task_file(tmp_path)
    add(task_file, make_recording(0))
    shutil.copytree(task_file.parts, tmp_path / "kept")
    task_file.merge()
    (tmp_path / "kept").rename(task_file.parts)
    again = open_task_file(tmp_path)
    add(again, make_recording(1))
    again.merge()
    assert len(Demonstrations(again.path)) == 2


def test_demonstrations_of_other_settings_are_not_mixed(tmp_path, make_recording):
    task_file = open_task_file(tmp_path)
    add(task_file, make_recording(0))
    with pytest.raises(ValueError, match=r"seed=0 \(now 3\)"):
        open_task_file(tmp_path, seed=3)
    task_file.merge()
    with pytest.raises(ValueError, match=r"image_every=5 \(now 1\)"):
        open_task_file(tmp_path, image_every=1)


def test_official_files_are_not_overwritten(official_file):
    official_file.rename(official_file.with_name("task_demo.hdf5"))
    with pytest.raises(ValueError, match="was not written by this collector"):
        open_task_file(official_file.parent)
