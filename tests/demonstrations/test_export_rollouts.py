"""Saved rollouts, exported and read back by our own reader."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.export_lerobot import export, parse_arguments
from ript.demonstrations.lerobot.reader import LeRobotDataset
from ript.env_runner.episode import Episode
from ript.models.pi0.norm_stats import NormStats
from ript.storage.episode_files import write_episode
from ript.storage.windows import Window, WindowCutter


def played(number: int, stats: NormStats, every: int = 1, success: bool = True) -> Episode:
    """An episode of 30 to 32 steps; what the policy saw is its state, normalised."""
    made = episode(30 + number, seed=number, every=every, horizon=10, success=success)
    seen = {t: {**o, "state": stats.state.normalize(made.states[t])} for t, o in made.observations.items()}
    return replace(made, observations=seen, task_id=number % 2, episode_id=number)


def save(folder: Path, episodes: list[Episode], stats: NormStats) -> Path:
    for number, made in enumerate(episodes):
        task = ("reach_the_right", "reach_the_top")[made.task_id]
        write_episode(folder / "episodes" / task / f"{number:02d}.safetensors", made, "planar", task, stats)
    return folder


def exported(source: Path, out: Path, *options: str) -> LeRobotDataset:
    export(parse_arguments(["--episodes", str(source), "--out", str(out), *options]))
    return LeRobotDataset(out)


def assert_same(mine: Window, theirs: Window) -> None:
    assert mine.start == theirs.start and mine.observation["prompt"] == theirs.observation["prompt"]
    np.testing.assert_array_equal(mine.actions, theirs.actions, strict=True)
    np.testing.assert_array_equal(mine.action_is_pad, theirs.action_is_pad)
    np.testing.assert_array_equal(mine.observation["state"], theirs.observation["state"], strict=True)
    for camera, image in mine.observation["image"].items():
        np.testing.assert_array_equal(image, theirs.observation["image"][camera], strict=True)


@pytest.mark.parametrize("delta_actions", [False, True])
def test_windows_of_an_export_are_those_of_the_rollouts_bit_for_bit(
    tmp_path: Path, tiny_policy: PI0_OFT_Policy, delta_actions: bool
) -> None:
    stats = tiny_policy.norm_stats
    episodes = [played(number, stats, success=number != 1) for number in range(3)]
    dataset = exported(save(tmp_path / "run", episodes, stats), tmp_path / "out")
    for task, name in enumerate(("reach_the_right", "reach_the_top")):
        source = dataset.of_task("reach the right", name)
        back = DemonstrationWindows([source], stats, 10, delta_actions)
        cut = WindowCutter(1).cut
        there = [w for e in episodes if e.task_id == task for w in cut(e, 1.0, stats, 10, delta_actions)]
        assert len(back) == len(there) == (30 + 32, 31)[task]
        for index, window in enumerate(there):
            assert_same(window, back[index])


def test_the_dataset_says_how_each_rollout_ended(tmp_path: Path, tiny_policy: PI0_OFT_Policy) -> None:
    stats = tiny_policy.norm_stats
    source = save(tmp_path / "run", [played(n, stats, success=n != 1) for n in range(3)], stats)
    exported(source, tmp_path / "out")
    rows = pq.read_table(tmp_path / "out/meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(r["ript/success"], r["ript/scene_hash"], r["ript/score"]) for r in rows] == [
        *((True, f"scene {n}", 1.0) for n in (0, 2)),
        (False, "scene 1", 0.0),
    ]
    frames = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
    assert sum(frames["next.success"].to_pylist()) == 2 and sum(frames["next.reward"].to_pylist()) == 2
    successes = exported(source, tmp_path / "solved", "--successes")
    assert [entry.length for entry in successes.metadata.episodes] == [30, 32]


@pytest.mark.parametrize(
    ("episodes", "options", "said"),
    [
        ({"every": 10}, [], r"00\.safetensors: no observation at step 1 \(27 of 30 .*--observe-every 1"),
        ({"success": False}, ["--successes"], "none of the 1 episodes succeeded"),
        ({}, ["--missing-images"], "--missing-images is for demonstrations"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing_behind(
    tmp_path: Path, tiny_policy: PI0_OFT_Policy, episodes: dict[str, Any], options: list[str], said: str
) -> None:
    source = save(tmp_path / "run", [played(0, tiny_policy.norm_stats, **episodes)], tiny_policy.norm_stats)
    with pytest.raises(ValueError, match=said):
        exported(source, tmp_path / "out", *options)
    assert not list(tmp_path.glob("out*"))
