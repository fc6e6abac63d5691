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
