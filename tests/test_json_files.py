from contextlib import closing
from pathlib import Path

import pytest

from ript.json_files import JsonLog, read_json, read_lines, unfinished, write_json


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "content.json"
    write_json(path, {"a": 1})
    with pytest.raises(KeyboardInterrupt), unfinished(path) as temporary:
        temporary.write_text("{")
        raise KeyboardInterrupt
    assert read_json(path) == {"a": 1}


def test_what_a_killed_process_left_is_no_part_of_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "file.hdf5"
    with pytest.raises(KeyboardInterrupt), unfinished(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    with unfinished(path) as temporary, temporary.open("a") as file:
        file.write("whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("end", ["", '{"step": 2', '{"step": 2\n', "\0\0\0"])
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path, end: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n' + end)
    assert read_lines(path) == [{"step": 0}, {"step": 1}]


def test_damage_before_the_last_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 0}\n{"step"\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"lines\.jsonl, line 2: not valid JSON"):
        read_lines(path)


@pytest.mark.parametrize("end", ["", '{"step": 2', '{"step": 2\n', "\0\0\0"])
def test_a_log_goes_on_behind_its_last_whole_line(tmp_path: Path, end: str) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_text('{"step": 0}\n{"step": 1}\n' + end)
    with closing(JsonLog(path)) as log:
        assert log.objects == [{"step": 0}, {"step": 1}]
        log.append({"step": 3})
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n{"step": 3}\n'
