"""Normalisation statistics: constant dimensions as openpi treats them; what cannot be meant is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ript.models.pi0 import norm_stats
from ript.models.pi0.norm_stats import EPSILON, Mode, NormStats


def write_stats(path: Path, **actions: Any) -> Path:
    """Statistics of ordinary numbers, with some of the actions' replaced."""
    groups = {
        name: {"mean": [0.1] * width, "std": [0.5] * width, "q01": [-1.0] * width, "q99": [1.0] * width}
        for name, width in (("state", 8), ("actions", 7))
    }
    groups["actions"] |= actions
    path.write_text(json.dumps({"norm_stats": groups}))
    return path


CONSTANT = {"std": [0.5, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5], "q01": [-1.0] * 3 + [0.1] + [-1.0] * 3}


@pytest.mark.parametrize("mode", ["z_score", "quantile"])
def test_a_constant_dimension_is_divided_by_epsilon_as_in_openpi(tmp_path: Path, mode: Mode) -> None:
    path = write_stats(tmp_path / "norm_stats.json", **CONSTANT, q99=[1.0] * 3 + [0.1] + [1.0] * 3)
    stats = NormStats.load(path, mode)
    assert stats.actions.scale[3] == EPSILON
    raw = np.full(7, 0.1)
    assert stats.actions.normalize(raw)[3] == (0.0 if mode == "z_score" else -1.0)
    np.testing.assert_allclose(stats.actions.unnormalize(stats.actions.normalize(raw)), raw, atol=1e-6)


def test_one_warning_names_the_file_and_the_constant_dimension(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_stats(tmp_path / "norm_stats.json", **CONSTANT)
    with caplog.at_level(logging.WARNING, logger=norm_stats.__name__):  # whatever levels earlier tests left
        NormStats.load(path)
    assert len(caplog.records) == 1, f"{norm_stats.logger.disabled=} {logging.root.level=} {logging.root.handlers=}"
    record = caplog.records[0]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"{path}: norm_stats.actions: no spread in dimension 3 ")


@pytest.mark.parametrize(
    ("mode", "actions", "message"),
    [
        ("z_score", {"std": [-1.0] * 7}, r"actions\.std is negative in dimension 0, 1, 2"),
        ("quantile", {"q99": [-2.0] + [1.0] * 6}, r"actions\.q99 is below q01 in dimension 0"),
        ("z_score", {"std": [float("nan")] * 7}, r"actions\.std holds NaN or Inf"),
        ("z_score", {"mean": [0.0] * 6}, r"actions\.mean has shape \(6,\)"),
        ("min_max", {}, r"norm_stats\.state\.min is missing"),
    ],
)
def test_statistics_that_cannot_be_meant_are_refused(
    tmp_path: Path, mode: Mode, actions: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NormStats.load(write_stats(tmp_path / "norm_stats.json", **actions), mode)


def test_state_and_actions_may_be_normalised_differently(tmp_path: Path) -> None:
    stats = NormStats.load(write_stats(tmp_path / "norm_stats.json"), "z_score", "quantile")
    assert (stats.state.mode, stats.actions.mode) == ("quantile", "z_score")


def test_identity_leaves_numbers_as_they_are_and_needs_no_statistics(tmp_path: Path) -> None:
    path = tmp_path / "norm_stats.json"
    path.write_text("{}")
    actions = NormStats.load(path, "identity").actions
    raw = np.linspace(-3, 3, 7)
    np.testing.assert_array_equal(actions.normalize(raw), raw.astype(np.float32))
    np.testing.assert_array_equal(actions.unnormalize(raw), raw)


def write_widths(path: Path, state: int, actions: int, padded: bool = False) -> Path:
    def group(width: int) -> dict[str, list[float]]:
        padding = [0.0] * (32 - width if padded else 0)
        return {"mean": [0.1] * width + padding, "std": [0.5] * width + padding}

    path.write_text(json.dumps({"norm_stats": {"state": group(state), "actions": group(actions)}}))
    return path


@pytest.mark.parametrize("padded", [False, True])
def test_the_statistics_say_how_wide_the_robots_state_and_actions_are(tmp_path: Path, padded: bool) -> None:
    stats = NormStats.load(write_widths(tmp_path / "norm_stats.json", 5, 4, padded))
    assert (stats.state.width, stats.actions.width) == (5, 4)
    assert stats.actions.unnormalize(np.zeros((3, 4))).shape == (3, 4)


def test_padded_and_plain_statistics_may_stand_side_by_side(tmp_path: Path) -> None:
    stats = NormStats.load(write_stats(tmp_path / "norm_stats.json", mean=[0.1] * 7 + [0.0] * 25))
    assert stats.actions.width == 7


def test_identity_is_as_wide_as_the_statistics_that_it_does_not_need(tmp_path: Path) -> None:
    path = write_widths(tmp_path / "norm_stats.json", 4, 4)
    assert NormStats.load(path, "identity").actions.width == 4
