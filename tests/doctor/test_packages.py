import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ript.doctor import packages


def test_a_package_out_of_range_or_absent_is_a_problem_with_the_command_that_mends_it() -> None:
    old = packages.check_requirement(Requirement("numpy<1"))
    assert old.level == "problem" and "setup.py asks for <1" in old.text and "pip install" in old.remedy
    absent = packages.check_requirement(Requirement("no-such-package"))
    assert (absent.level, absent.text) == ("problem", "is not installed")
    assert packages.check_requirement(Requirement("numpy>=1")).level == "ok"


def test_another_version_than_the_tested_one_is_a_note_and_a_builds_label_is_none() -> None:
    have = packages.installed("torch")
    assert have is not None
    public = have.partition("+")[0]
    assert packages.compare(["torch"], {"torch": public}).level == "ok"
    other = packages.compare(["torch", "numpy"], {"torch": f"{public}.1"})
    assert other.level == "note" and other.text == f"torch {have} (tested: {public}.1)"


def test_the_tested_versions_are_those_of_the_constraints_file() -> None:
    tested = packages.read_constraints(packages.CONSTRAINTS)
    assert tested["mujoco"] == "3.3.7" and tested["farama-notifications"] and len(tested) > 100


def test_a_missing_shared_library_is_a_problem_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needy.py").write_text("import ctypes; ctypes.CDLL('libneeded_and_absent.so.7')")
    about = tmp_path / "needy-1.0.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text("Metadata-Version: 2.1\nName: needy\nVersion: 1.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    found = packages.check_import("needy")
    assert found is not None and found.level == "problem" and "libneeded_and_absent.so.7" in found.text
    assert packages.check_import("json_that_is_not_installed") is None


def test_another_python_is_a_problem() -> None:
    assert packages.check_python(">=3.11").level == "ok"
    assert packages.check_python(">=4").level == "problem"


def test_a_missing_extra_is_a_note_with_its_command() -> None:
    found = packages.check_extra("thing", [Requirement("no-such-package; extra == 'thing'")])
    assert found.level == "note" and found.remedy.endswith("-e '.[thing]'")
    wrong = packages.check_extra("thing", [Requirement("numpy<1; extra == 'thing'")])
    assert wrong.level == "note" and "asks for <1" in wrong.text
    assert packages.extra_of("pytest") == "dev" and packages.extra_of("numpy") is None
