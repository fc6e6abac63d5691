import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from samples import episode

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.models.pi0.norm_stats import Normalizer, NormStats
from ript.storage.episode_files import find_episodes, read_episode, write_episode
from ript.storage.windows import WindowCutter

STATS = NormStats(
    Normalizer(np.linspace(-1, 1, 8), np.linspace(0.1, 2, 8), "z_score"),
    Normalizer(np.zeros(7), np.full(7, 0.3), "quantile"),
)


def written(folder: Path, **options: Any) -> Path:
    path = folder / "episode.safetensors"
    write_episode(path, episode(120, every=10, **options), "planar", "reach_the_right", STATS)
    return path


def rewritten(path: Path, about: dict[str, Any] | None = None, **changed: np.ndarray | None) -> Path:
    """The file with other arrays (None: without it) and other metadata."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(file.metadata()["episode"])
    arrays |= {name.replace("image_", "image/"): array for name, array in changed.items() if array is not None}
    arrays = {name: array for name, array in arrays.items() if changed.get(name, array) is not None}
    save_file(arrays, path, {"episode": json.dumps({**metadata, **(about or {})})})
    return path


def test_what_was_played_comes_back_bit_for_bit(tmp_path: Path) -> None:
    played = episode(120, every=10, seed=4, success=True, task_id=1, episode_id=77)
    write_episode(tmp_path / "a.safetensors", played, "planar", "reach_the_top", STATS)
    saved = read_episode(tmp_path / "a.safetensors")
    assert (saved.suite, saved.task, saved.cameras) == ("planar", "reach_the_top", ["base_0_rgb", "left_wrist_0_rgb"])
    for name in ("actions", "actions_normalized", "executed", "rewards"):
        np.testing.assert_array_equal(getattr(saved.episode, name), getattr(played, name), strict=True)
    for name in ("task_id", "task_description", "init_hash", "success", "score", "episode_id"):
        assert getattr(saved.episode, name) == getattr(played, name)
    for mine, theirs in ((saved.norm_stats.state, STATS.state), (saved.norm_stats.actions, STATS.actions)):
        assert all(np.array_equal(getattr(mine, f.name), getattr(theirs, f.name)) for f in fields(Normalizer))


@pytest.mark.parametrize("stride", [None, 10, "last"])
@pytest.mark.parametrize("delta_actions", [False, True])
def test_windows_of_a_saved_episode_are_those_of_the_rollout(
    tmp_path: Path, tiny_policy: PI0_OFT_Policy, stride: Any, delta_actions: bool
) -> None:
    played = episode(120, every=10, seed=4)
    write_episode(tmp_path / "a.safetensors", played, "planar", "reach_the_right", tiny_policy.norm_stats)
    saved = read_episode(tmp_path / "a.safetensors").episode
    cut = [list(WindowCutter(stride).cut(e, 0.5, tiny_policy.norm_stats, 50, delta_actions)) for e in (played, saved)]
    assert len(cut[0]) == len(cut[1]) > 0
    for mine, theirs in zip(*cut, strict=True):
        assert (mine.start, mine.advantage, mine.episode_id) == (theirs.start, theirs.advantage, theirs.episode_id)
        np.testing.assert_array_equal(mine.actions, theirs.actions, strict=True)
        np.testing.assert_array_equal(mine.action_is_pad, theirs.action_is_pad)
        np.testing.assert_array_equal(mine.observation["state"], theirs.observation["state"], strict=True)
        assert mine.observation["prompt"] == theirs.observation["prompt"]
        for camera, image in mine.observation["image"].items():
            np.testing.assert_array_equal(image, theirs.observation["image"][camera], strict=True)


@pytest.mark.parametrize(
    ("key", "array", "said"),
    [
        ("actions", None, "actions is missing: it is no saved episode"),
        ("actions", np.zeros((120, 7), np.float32), r"actions has shape \(120, 7\) float32"),
        ("actions", np.full((120, 7), np.nan), "actions holds NaN"),
        ("actions", np.zeros((120, 4)), "actions has 4 numbers a step, its statistics 7"),
        ("raw_state", np.zeros((12, 9)), "raw_state has 9 numbers a step, its statistics 8"),
        ("rewards", np.zeros(119), "rewards has 119 rows, expected 120"),
        ("executed", np.array([50, 50, 19]), "executed adds up to 119, actions has 120 rows"),
        ("steps", np.arange(12) * -1, "steps is not ascending"),
        ("image_base_0_rgb", np.zeros((12, 4, 4, 3), np.float32), r"image/base_0_rgb is \(12, 4, 4, 3\) F32"),
        ("image_base_0_rgb", np.zeros((11, 4, 4, 3), np.uint8), r"image/base_0_rgb is \(11, 4, 4, 3\) U8"),
    ],
)
def test_a_bad_array_is_named_with_its_file(tmp_path: Path, key: str, array: np.ndarray | None, said: str) -> None:
    path = rewritten(written(tmp_path), **{key: array})
    with pytest.raises(ValueError, match=rf"episode\.safetensors: {said}") as caught:
        read_episode(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("about", "said"), [({"version": 2}, "not of version 1"), ({"task": 3}, r"\[task\]")])
def test_bad_metadata_are_named_with_their_file(tmp_path: Path, about: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"episode\.safetensors: metadata\[episode\].*{said}"):
        read_episode(rewritten(written(tmp_path), about))


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_truncated_episode_names_its_file(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"episode\.safetensors: damaged episode"):
        read_episode(path)


def test_weights_are_no_episode(tmp_path: Path) -> None:
    save_file({"layer.weight": np.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: actions is missing: it is no saved episode"):
        read_episode(tmp_path / "model.safetensors")


def test_episodes_are_found_in_a_run_an_evaluation_a_task_and_by_name(tmp_path: Path) -> None:
    files = [tmp_path / "run" / "episodes" / task / f"{n}.safetensors" for task in ("a", "b") for n in range(2)]
    for path in [*files, tmp_path / "run" / "checkpoints" / "model.safetensors"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (files[0].parent / "2.safetensors.unfinished").touch()
    assert find_episodes(str(tmp_path / "run")) == files
    assert find_episodes([str(files[0].parent), str(files[3]), str(files[0])]) == [*files[:2], files[3]]
    with pytest.raises(FileNotFoundError, match=r"no saved episodes .* at .*nowhere"):
        find_episodes(str(tmp_path / "nowhere"))
