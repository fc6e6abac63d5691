"""Evaluations that keep their episodes."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from planar_evaluation import EvaluationRunner, command
from planar_run import planar_config

import ript.evaluation.evaluate as evaluate
from ript.evaluation.__main__ import main
from ript.evaluation.episode_log import read_log
from ript.storage.episode_files import SavedEpisode, find_episodes, read_episode
from ript.training.loop import run


@pytest.fixture(autouse=True)
def _on_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "SuiteRunner", EvaluationRunner)


def saved_in(folder: Path) -> dict[str, SavedEpisode]:
    """Task and file → episode."""
    return {f"{path.parent.name}/{path.stem}": read_episode(path) for path in find_episodes(str(folder))}


def test_every_episode_is_saved_once_whatever_its_setting(tiny_policy_folder: Path, tmp_path: Path) -> None:
    main(command(tiny_policy_folder, tmp_path, "--denoise-steps", "1", "2", "--save-episodes"))
    found, records = saved_in(tmp_path), read_log(tmp_path)
    assert len(found) == len(records) == 2 * 2 * 4
    for record in records:
        saved = found[f"{record.task}/{record.index:04d}_denoise_{record.denoise_steps}_cfg_1"]
        episode = saved.episode
        assert (saved.suite, saved.task, episode.task_id) == ("planar", record.task, record.task_id)
        assert (episode.length, episode.success, episode.init_hash) == (
            record.length,
            record.success,
            record.scene_hash,
        )
        assert list(episode.observations) == list(range(0, episode.length, 10))  # where the policy looked


def test_looking_more_often_changes_no_episode(tiny_policy_folder: Path, tmp_path: Path) -> None:
    found = []
    for name, more in (("seldom", ()), ("often", ("--observe-every", "1"))):
        main(command(tiny_policy_folder, tmp_path / name, "--workers", "1", "--save-episodes", *more))
        found.append(saved_in(tmp_path / name))
    assert found[0].keys() == found[1].keys() and len(found[0]) == 8
    for name, saved in found[0].items():
        seldom, often = saved.episode, found[1][name].episode
        np.testing.assert_array_equal(seldom.actions, often.actions)
        assert list(often.observations) == list(range(often.length))
        for step, seen in seldom.observations.items():
            np.testing.assert_array_equal(seen["image"]["base_0_rgb"], often.observations[step]["image"]["base_0_rgb"])


def test_episodes_that_were_played_unsaved_are_counted_in_a_warning(
    tiny_policy_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    main(command(tiny_policy_folder, tmp_path, "--episodes", "1"))
    main(command(tiny_policy_folder, tmp_path, "--episodes", "3", "--save-episodes"))
    assert "2 of 2 episodes were played without --save-episodes" in caplog.text
    assert len(find_episodes(str(tmp_path))) == 4
    caplog.clear()
    main(command(tiny_policy_folder, tmp_path, "--episodes", "1"))
    assert "--save-episodes" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--observe-every", "1"], "--observe-every needs --save-episodes"),
        (["--observe-every", "0", "--save-episodes"], "observe_every=0"),
        (["--observe-every", "4", "--save-episodes"], "observe_every=4 is not valid: must divide open_loop=10"),
    ],
)
def test_bad_options_end_with_one_line(
    tiny_policy_folder: Path, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(tiny_policy_folder, tmp_path / "out", *options))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line and not (tmp_path / "out").exists()


def test_a_disk_that_takes_no_episode_ends_with_one_line(
    tiny_policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "episodes").touch()
    with pytest.raises(SystemExit) as ended:
        main(command(tiny_policy_folder, tmp_path, "--save-episodes"))
    assert ended.value.code == 1
    error = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert str(tmp_path / "episodes") in error and not read_log(tmp_path)


def test_a_run_learns_from_an_evaluation_whose_settings_are_siblings(
    tiny_policy_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluation = tmp_path / "evaluation"
    main(command(tiny_policy_folder, evaluation, "--denoise-steps", "1", "2", "--save-episodes"))
    scenes = Counter((saved.task, saved.episode.init_hash) for saved in saved_in(evaluation).values())
    assert set(scenes.values()) == {2}
    options = (f"algo.offline_episodes={evaluation}", "algo.offline_steps=1", "training.n_steps=1")
    with caplog.at_level("INFO"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "rollout.enabled=false"))
    assert "16 logged episodes of 2 tasks" in caplog.text and "16 have siblings from the same scene" in caplog.text
