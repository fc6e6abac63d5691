"""The command as a whole: on the plane, and once on the real simulator."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import planar
import planar_evaluation
import pytest
from planar_evaluation import EvaluationRunner, command

import ript.evaluation.evaluate as evaluate
from ript.env_runner.episode import Episode
from ript.env_runner.workers import WorkerError
from ript.evaluation.__main__ import main, parse_arguments
from ript.evaluation.episode_log import EPISODE_LOG, EpisodeRecord, read_log
from ript.evaluation.evaluated_policy import identify_policy
from ript.models.pi0.weights_file import sha256
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv


@pytest.fixture(autouse=True)
def _on_the_plane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "libero" not in request.node.name:
        monkeypatch.setattr(evaluate, "SuiteRunner", EvaluationRunner)


@pytest.fixture(scope="module")
def uninterrupted(tiny_policy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRecord]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "SuiteRunner", EvaluationRunner)
        main(command(tiny_policy_folder, folder))
    return read_log(folder)


def essence(records: list[EpisodeRecord]) -> Counter[Any]:
    """The records in any order, without the clock."""
    return Counter(tuple((key, value) for key, value in asdict(r).items() if key != "seconds") for r in records)


def interrupting(error: BaseException, after: int) -> type[EvaluationRunner]:
    """A runner that fails after so many episodes."""

    class Interrupted(EvaluationRunner):
        played = 0

        def play_evaluation(self, *args: Any, **kwargs: Any) -> Iterator[tuple[int, Episode]]:
            for result in super().play_evaluation(*args, **kwargs):
                if self.played == after:
                    raise error
                self.played += 1
                yield result

    return Interrupted


def test_each_episode_of_each_task_is_played_once_from_its_own_state(uninterrupted: list[EpisodeRecord]) -> None:
    played = sorted((entry.task, entry.index) for entry in uninterrupted)
    assert played == [(task, index) for task in planar.TASKS for index in range(4)]
    for entry in uninterrupted:
        assert entry.state_index == entry.scene_seed == entry.index
        assert planar.TASKS[entry.task_id] == entry.task
        state = planar.PlanarBenchmark().get_task_init_states(entry.task_id)[entry.index]
        assert planar.PlanarEnv(entry.task_id).reset(0, state).init_hash == entry.scene_hash
        assert entry.length == 30 or entry.success
        assert entry.seconds > 0


def test_a_killed_evaluation_goes_on_to_the_same_records(
    tiny_policy_folder: Path, tmp_path: Path, uninterrupted: list[EpisodeRecord]
) -> None:
    arguments = command(tiny_policy_folder, tmp_path)
    process = subprocess.Popen(
        [sys.executable, planar_evaluation.__file__, *arguments],
        env={**os.environ, "PLANAR_SECONDS_PER_CHUNK": "0.3"},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    log, deadline = tmp_path / EPISODE_LOG, time.monotonic() + 60
    while not (log.exists() and log.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = log.read_bytes()
    assert 2 <= before.count(b"\n") < len(uninterrupted)

    main(arguments)
    assert log.read_bytes().startswith(before)
    assert essence(read_log(tmp_path)) == essence(uninterrupted)

    complete = log.read_bytes()
    main(arguments)
    assert log.read_bytes() == complete


def test_more_episodes_tasks_and_settings_add_to_the_folder(
    tiny_policy_folder: Path, tmp_path: Path, uninterrupted: list[EpisodeRecord]
) -> None:
    main(command(tiny_policy_folder, tmp_path, "--episodes", "2", "--tasks", "1"))
    assert len(read_log(tmp_path)) == 2
    main(command(tiny_policy_folder, tmp_path))
    assert essence(read_log(tmp_path)) == essence(uninterrupted)
    main(command(tiny_policy_folder, tmp_path, "--denoise-steps", "3", "--tasks", planar.TASKS[0]))
    added = read_log(tmp_path)[len(uninterrupted) :]
    assert [(entry.denoise_steps, entry.task) for entry in added] == [(3, planar.TASKS[0])] * 4


def test_every_setting_is_played_from_the_same_starts(tiny_policy_folder: Path, tmp_path: Path) -> None:
    main(command(tiny_policy_folder, tmp_path, "--denoise-steps", "1", "3", "1", "--cfg-scale", "1", "2.5"))
    records = read_log(tmp_path)
    grid = {(entry.denoise_steps, entry.cfg_scale) for entry in records}
    assert grid == {(1, 1.0), (1, 2.5), (3, 1.0), (3, 2.5)}
    assert len(records) == 4 * 8
    starts = {cell: {} for cell in grid}
    for entry in records:
        starts[entry.denoise_steps, entry.cfg_scale][entry.task, entry.index] = (entry.scene_seed, entry.scene_hash)
    assert len({json.dumps(sorted(cell.items())) for cell in starts.values()}) == 1
    assert (tmp_path / "summary.md").read_text().count("\n## ") == 1 + 4 + 1


def test_denoising_steps_and_guidance_reach_the_policy(
    tiny_policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    act = evaluate.PI0_OFT_Policy.act

    def recording(policy: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((policy.num_steps, kwargs["cfg_scale"]))
        return act(policy, *args, **kwargs)

    monkeypatch.setattr(evaluate.PI0_OFT_Policy, "act", recording)
    main(command(tiny_policy_folder, tmp_path, "--denoise-steps", "1", "3", "--cfg-scale", "2", "--tasks", "0"))
    assert set(seen) == {(1, 2.0), (3, 2.0)}


def test_ctrl_c_leaves_a_summary_and_goes_on(
    tiny_policy_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uninterrupted: list[EpisodeRecord],
) -> None:
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(evaluate, "SuiteRunner", interrupting(KeyboardInterrupt(), after=3))
        main(command(tiny_policy_folder, tmp_path))
    assert ended.value.code == 130
    assert "the same command goes on" in capsys.readouterr().err.splitlines()[-1]
    assert "5 of 8 episodes are missing" in (tmp_path / "summary.md").read_text()
    main(command(tiny_policy_folder, tmp_path))
    assert essence(read_log(tmp_path)) == essence(uninterrupted)
    assert "missing" not in (tmp_path / "summary.md").read_text()


def test_an_evaluation_that_ends_before_its_first_episode_says_so_and_claims_no_rate(
    tiny_policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(evaluate, "SuiteRunner", interrupting(KeyboardInterrupt(), after=0))
    with pytest.raises(SystemExit), caplog.at_level("INFO"):
        main(command(tiny_policy_folder, tmp_path))
    assert "nothing was played" in caplog.text and "0/0" not in caplog.text


def test_a_failed_simulator_ends_with_its_message_and_exit_code_1(
    tiny_policy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, "SuiteRunner", interrupting(WorkerError(1, "died with exit code 7"), after=5))
    with pytest.raises(SystemExit) as ended:
        main(command(tiny_policy_folder, tmp_path))
    assert ended.value.code == 1
    message = capsys.readouterr().err
    assert "environment worker 1 died with exit code 7" in message and "the same command goes on" in message
    assert len(read_log(tmp_path)) == 5


def test_another_evaluation_in_the_same_folder_is_refused(
    tiny_policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tiny_policy_folder, tmp_path / "out", "--tasks", "0", "--episodes", "1"))
    other = planar.write_tiny_policy(tmp_path / "other")
    for arguments, difference in (
        (command(tiny_policy_folder, tmp_path / "out", "--seed", "4"), "seed is 0, not 4"),
        (command(other, tmp_path / "out"), "policy.sha256.model.safetensors is"),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and difference in line
    assert len(read_log(tmp_path / "out")) == 1


def test_films_are_made_once_and_named_by_what_they_show(tiny_policy_folder: Path, tmp_path: Path) -> None:
    main(command(tiny_policy_folder, tmp_path, "--videos", "2"))
    films = {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    failures = [(entry.task, entry.index) for entry in read_log(tmp_path) if not entry.success]
    for task in planar.TASKS:
        indices = sorted(index for name, index in failures if name == task)[:2]
        for index in indices:
            assert tmp_path / "videos" / f"{task}_{index:03d}_failure.mp4" in films
    assert len(films) == 4
    main(command(tiny_policy_folder, tmp_path, "--videos", "2"))
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()} == films


@pytest.mark.parametrize("option", ["--tasks", "--episodes", "--max-steps", "--wait-steps"])
def test_the_standard_protocol_refuses_what_contradicts_it(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--suite", "planar", "--out", str(tmp_path / "out"), "--standard", option, "1"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert option.strip("-").replace("-", "_") in line and "--standard" in line


def test_the_standard_protocol_is_all_tasks_fifty_episodes_and_the_suites_steps(tiny_policy_folder: Path) -> None:
    arguments = ["--suite", "planar", "--out", "unused", "--standard", "--policy", str(tiny_policy_folder)]
    options = parse_arguments([*arguments, "--device", "cpu"])
    (evaluation,) = evaluate.prepare(options)
    assert evaluation.tasks == list(planar.TASKS) and evaluation.episodes == 50
    assert evaluation.protocol.max_steps == planar.PlanarBenchmark.max_episode_length
    assert evaluation.protocol.wait_steps == 10
    assert evaluation.protocol.image_size == planar.IMAGE_SIZE


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tasks", "reach_the_moon"], "reach_the_top"),
        (["--episodes", "0"], "episodes=0"),
        (["--denoise-steps", "4", "0"], "denoise_steps=0"),
        (["--cfg-scale", "nan"], "cfg_scale=nan"),
        (["--open-loop", "51"], "open_loop=51"),
        (["--image-size", "0"], "image_size=0"),
        (["--max-steps", "-1"], "max_steps=-1"),
        (["--workers", "0"], "workers=0"),
        (["--videos", "-1"], "videos=-1"),
        (["--seed", "1000000"], "seed=1000000"),
        (["--device", "tpu"], "device='tpu'"),
        (["--condition-mode", "concatt"], "did you mean concat"),
        (["--policy", "no/such/folder"], "no/such/folder"),
        (["--norm-stats", "no_such.json"], "no_such.json"),
        (["--out", __file__], "it is a file"),
    ],
)
def test_bad_input_ends_with_one_line_before_anything_is_written(
    tiny_policy_folder: Path,
    tmp_path: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(tiny_policy_folder, tmp_path / "out", *options))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists()


def test_an_unknown_libero_suite_or_task_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in ((["--suite", "libero_gaol"], "libero_goal"), (["--suite", "libero_goal"], "task id 10")):
        with pytest.raises(SystemExit) as ended:
            main([*options, "--tasks", "10", "--out", str(tmp_path)])
        assert ended.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_policy_of_another_tool_is_identified_by_the_hash_of_its_file(tiny_policy_folder: Path) -> None:
    options = parse_arguments(["--suite", "planar", "--out", "unused", "--policy", str(tiny_policy_folder)])
    policy = evaluate.load_policy(options)
    own = identify_policy(policy, options)["sha256"]
    policy.card.sha256.clear()
    foreign = identify_policy(policy, options)["sha256"]
    assert own["model.safetensors"] == foreign["model.safetensors"] == sha256(tiny_policy_folder / "model.safetensors")
    assert own["norm_stats"] == foreign["norm_stats"] == sha256(tiny_policy_folder / "norm_stats.json")


def test_on_libero_the_benchmarks_own_states_are_played_and_filmed(tiny_policy_folder: Path, tmp_path: Path) -> None:
    """Real physics and images, five steps an episode."""
    options = {"--suite": "libero_object", "--tasks": 3, "--episodes": 2, "--max-steps": 5, "--wait-steps": 0}
    options |= {"--policy": tiny_policy_folder, "--out": tmp_path, "--workers": 1, "--denoise-steps": 1, "--seed": 7}
    arguments = [str(word) for pair in options.items() for word in pair]
    main(arguments)
    records = read_log(tmp_path)
    assert [(r.task_id, r.index, r.state_index, r.scene_seed) for r in records] == [(3, 0, 0, 7), (3, 1, 1, 8)]
    assert [(r.length, r.success) for r in records] == [(5, False)] * 2

    states = LiberoBenchmark("libero_object").get_task_init_states(3)
    env = LiberoEnv("libero_object", 3, render_images=False)
    for entry in records:
        assert env.reset(entry.scene_seed, states[entry.state_index], 0).init_hash == entry.scene_hash
    env.close()
    (video,) = (tmp_path / "videos").iterdir()
    assert video.name == f"{records[0].task}_000_failure.mp4"
    frames = imageio.imread(video)
    assert frames.shape == (1, 256, 256, 3) and np.std(frames) > 5
    assert video.name in (tmp_path / "summary.html").read_text()


def test_suites_are_played_into_folders_of_their_own_and_compared_with_the_first(
    tiny_policy_folder: Path, tmp_path: Path, uninterrupted: list[EpisodeRecord]
) -> None:
    arguments = command(tiny_policy_folder, tmp_path)
    arguments[arguments.index("planar") : arguments.index("planar") + 1] = ["planar", "planar_moved"]
    main(arguments)
    assert essence(read_log(tmp_path / "planar")) == essence(uninterrupted)
    assert len(read_log(tmp_path / "planar_moved")) == len(uninterrupted)
    for suite in ("planar", "planar_moved"):
        assert json.loads((tmp_path / suite / "evaluation.json").read_text())["suite"] == suite
    page = (tmp_path / "suites.md").read_text()
    won = sum(entry.success for entry in uninterrupted)
    assert f"| planar | {won}/{len(uninterrupted)} |" in page
    assert "| planar_moved |" in page


def test_a_suite_of_another_evaluation_is_refused_before_anything_is_played(
    tiny_policy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(command(tiny_policy_folder, tmp_path / "planar_moved", "--seed", "1", "--episodes", "1"))
    arguments = command(tiny_policy_folder, tmp_path)
    arguments[arguments.index("planar") : arguments.index("planar") + 1] = ["planar", "planar_moved"]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "seed is 1, not 0" in capsys.readouterr().err
    assert not read_log(tmp_path / "planar")
