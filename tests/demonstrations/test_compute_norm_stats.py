import json

import h5py
import numpy as np
import pytest

from ript.demonstrations.compute_norm_stats import compute_norm_stats, label_deltas, parse_arguments, write_norm_stats
from ript.demonstrations.reader import Demonstrations
from ript.models.pi0.norm_stats import NormStats


def test_stats_are_numpys_over_all_steps(official_file, tmp_path):
    out = tmp_path / "stats" / "norm_stats.json"
    write_norm_stats(parse_arguments(["--data", str(official_file.parent), "--out", str(out)]))
    with h5py.File(official_file) as file:
        demos = list(file["data"].values())
        actions = np.concatenate([demo["actions"] for demo in demos])
        fingers = np.concatenate([demo["obs/gripper_states"] for demo in demos])
    stats = json.loads(out.read_text())["norm_stats"]
    np.testing.assert_allclose(stats["actions"]["mean"], actions.mean(0))
    np.testing.assert_allclose(stats["actions"]["std"], actions.std(0))
    np.testing.assert_allclose(stats["actions"]["q01"], np.percentile(actions, 1, axis=0))
    np.testing.assert_allclose(stats["state"]["q99"][6:], np.percentile(fingers, 99, axis=0))
    normalized = NormStats.load(out).actions.normalize(actions)
    np.testing.assert_allclose(normalized.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(normalized.std(0), 1, atol=1e-4)
    assert (np.abs(NormStats.load(out, "quantile").actions.normalize(actions)) <= 1 + 1e-6).mean() > 0.85


def test_delta_stats_are_those_of_the_labels(official_file):
    demo = Demonstrations(official_file)[0]
    windows = [demo.actions[start : start + 3].copy() for start in range(len(demo))]
    for start, window in enumerate(windows):
        window[:, :6] -= demo.proprioception[start, :6]
    np.testing.assert_array_equal(label_deltas(demo.actions, demo.proprioception, 3), np.concatenate(windows))
    stats = compute_norm_stats([demo], delta_horizon=3)["norm_stats"]
    np.testing.assert_allclose(stats["actions"]["mean"], np.concatenate(windows).mean(0))


def test_bad_input_is_refused(official_file, tmp_path):
    with pytest.raises(FileNotFoundError, match="no demonstrations"):
        write_norm_stats(parse_arguments(["--data", str(tmp_path / "none"), "--out", str(tmp_path / "out.json")]))
    options = ["--data", str(official_file), "--out", str(tmp_path / "out.json"), "--delta-horizon", "0"]
    with pytest.raises(ValueError, match="delta_horizon=0"):
        write_norm_stats(parse_arguments(options))


def write_actions(official_file, folder, dimension, value):
    """A copy of the demonstrations with one action dimension set to `value`."""
    copy = folder / "demonstrations.hdf5"
    copy.write_bytes(official_file.read_bytes())
    with h5py.File(copy, "a") as file:
        for demo in file["data"].values():
            actions = demo["actions"][...]
            actions[:, dimension] = value
            demo["actions"][...] = actions
    return copy


def test_a_constant_action_dimension_is_taken_and_named(official_file, tmp_path, caplog):
    data = write_actions(official_file, tmp_path, 4, 0.0)
    write_norm_stats(parse_arguments(["--data", str(data), "--out", str(tmp_path / "out.json")]))
    assert "norm_stats.actions: no spread in dimension 4 (std is 0)" in caplog.text
    for mode in ("z_score", "quantile"):
        assert np.isfinite(NormStats.load(tmp_path / "out.json", mode).actions.normalize(np.ones(7))).all()


def test_statistics_that_no_policy_would_take_are_not_written(official_file, tmp_path):
    data = write_actions(official_file, tmp_path, 4, np.nan)
    with pytest.raises(ValueError, match=r"NaN"):
        write_norm_stats(parse_arguments(["--data", str(data), "--out", str(tmp_path / "out.json")]))
    assert not (tmp_path / "out.json").exists()
