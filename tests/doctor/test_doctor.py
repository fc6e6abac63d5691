"""The command: what it prints, in which form, and how it exits."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ript.doctor.__main__ import PARTS, main
from ript.doctor.finding import problem


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main(["--no-simulators", "--json", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_where_a_run_can_start_the_exit_status_is_zero_and_every_part_was_looked_at(
    tmp_path: Path, tiny_policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = run_json(capsys, str(tiny_policy_folder), "--runs", str(tmp_path / "runs"))
    problems = [finding for finding in report["findings"] if finding["level"] == "problem"]
    assert (code, report["problems"], problems) == (0, 0, [])
    assert list(dict.fromkeys(finding["part"] for finding in report["findings"])) == list(PARTS)
    found = {finding["subject"]: finding["data"] for finding in report["findings"]}
    assert found["torch"]["version"].startswith("2.") and found["CPU"]["cores"] >= 1
    assert list(tmp_path.iterdir()) == []  # it writes nothing


def test_a_problem_is_one_line_with_its_remedy_below_and_exit_status_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--no-simulators", str(tmp_path / "nowhere")])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    at = lines.index(f"  problem  {tmp_path}/nowhere: POLICY_FOLDER is not a folder: {tmp_path}/nowhere")
    assert lines[at + 1].strip().startswith("→ ") and lines[-1].startswith("1 problems, ")


def test_a_part_whose_package_does_not_load_is_a_problem_and_the_others_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tiny_policy_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ript.doctor.machine", None)  # an import then fails
    code, report = run_json(capsys, str(tiny_policy_folder))
    (broken,) = [finding for finding in report["findings"] if finding["part"] == "machine"]
    assert code == 1 and "ript.doctor.machine" in broken["text"] and broken["remedy"] == "bash scripts/setup.sh"
    assert {finding["part"] for finding in report["findings"]} == set(PARTS)


def test_no_problem_comes_without_a_remedy() -> None:
    with pytest.raises(ValueError, match="needs a remedy"):
        problem("disk", "is full", "")
