from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_samples import RECORD, SETTINGS, TASKS, record

from ript.evaluation.episode_log import EPISODE_LOG, EpisodeLog, read_log


def write(folder: Path, count: int = 3) -> bytes:
    with EpisodeLog(folder) as log:
        for index in range(count):
            log.append(replace(RECORD, index=index))
    return (folder / EPISODE_LOG).read_bytes()


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write(tmp_path)
    assert read_log(tmp_path) == [replace(RECORD, index=index) for index in range(3)]


def test_a_kill_at_any_byte_loses_the_torn_episode_only(tmp_path: Path) -> None:
    whole = write(tmp_path)
    path = tmp_path / EPISODE_LOG
    lines = whole.splitlines(keepends=True)
    for size in range(len(lines[0]), len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = whole[:size].count(b"\n")
        with EpisodeLog(tmp_path) as log:
            assert [entry.index for entry in log.records] == list(range(kept))
            missing = log.missing(RECORD.setting, RECORD.task, 3)
            assert missing == list(range(kept, 3))
            for index in missing:
                log.append(replace(RECORD, index=index))
        assert path.read_bytes() == whole


def test_zeros_at_the_end_are_a_torn_line(tmp_path: Path) -> None:
    whole = write(tmp_path)
    (tmp_path / EPISODE_LOG).write_bytes(whole + bytes(100))
    with EpisodeLog(tmp_path) as log:
        assert len(log.records) == 3
    assert (tmp_path / EPISODE_LOG).read_bytes() == whole


def test_damage_before_the_last_line_is_named(tmp_path: Path) -> None:
    lines = write(tmp_path).splitlines(keepends=True)
    (tmp_path / EPISODE_LOG).write_bytes(lines[0] + b"{}\n" + lines[2])
    with pytest.raises(ValueError, match=r"episodes\.jsonl, line 2"):
        EpisodeLog(tmp_path)


def test_two_evaluations_cannot_write_to_one_folder(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path), pytest.raises(ValueError, match="in use by process"):
        EpisodeLog(tmp_path)
    EpisodeLog(tmp_path).close()


def test_missing_episodes_are_those_of_the_setting_and_the_task(tmp_path: Path) -> None:
    with EpisodeLog(tmp_path) as log:
        log.append(record(SETTINGS[0], TASKS[0], 1, True))
        log.append(record(SETTINGS[1], TASKS[0], 0, True))
        log.append(record(SETTINGS[0], TASKS[1], 2, True))
        assert log.missing(SETTINGS[0], TASKS[0], 3) == [0, 2]
        assert log.missing(SETTINGS[2], TASKS[0], 2) == [0, 1]
