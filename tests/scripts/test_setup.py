"""setup.sh with a stand-in for Python, so nothing is installed: what it does when, and what it refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Answers the questions that setup.sh asks Python; FAKE_* variables choose the answers.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
  "-m pip install "*) echo pip >>"$FAKE_LOG"; exit "${FAKE_INSTALL:-0}" ;;
  *version_info*) exit "${FAKE_VERSION:-0}" ;;
  *ensurepip*) exit "${FAKE_VENV:-0}" ;;
  *CDLL*) exit "${FAKE_GL:-0}" ;;
  --version) echo Python 3.9.2 ;;
esac
"""


EVERYTHING = ["pip", "pip"]
"""The installations of a whole set-up: the project, then the client that the server's tests use."""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what setup.sh reads, with the stand-ins in bin/."""
    repo = tmp_path / "a checkout"
    (repo / "scripts").mkdir(parents=True)
    for name in ("setup.py", "scripts/setup.sh", "scripts/common.sh", "scripts/constraints.txt"):
        shutil.copy(ROOT / name, repo / name)
    programs = {f"python3{minor}": FAKE_PYTHON for minor in ("", ".11", ".12", ".13", ".14")}
    programs["id"] = '#!/bin/bash\necho "$FAKE_UID"\n'
    programs["apt-get"] = '#!/bin/bash\necho "apt-get $1" >>"$FAKE_LOG"\n'
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return repo


def set_up(checkout, **variables):
    """Runs setup.sh; returns its result and the installations it asked for."""
    log = checkout.parent / "log"
    log.write_text("")
    env = {
        "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}",
        "FAKE_LOG": str(log),
        "FAKE_UID": "1000",
        **variables,
    }
    result = subprocess.run(
        ["bash", checkout / "scripts/setup.sh"], env=env, cwd="/", capture_output=True, text=True, timeout=60
    )
    return result, log.read_text().splitlines()


def test_a_second_run_does_nothing(checkout):
    assert set_up(checkout)[1] == EVERYTHING
    result, installs = set_up(checkout)
    assert (result.returncode, result.stdout, result.stderr, installs) == (0, "", "", [])


def test_changed_pins_are_installed(checkout):
    set_up(checkout)
    with (checkout / "scripts/constraints.txt").open("a") as pins:
        pins.write("another==1.0\n")
    assert set_up(checkout)[1] == EVERYTHING


def test_an_interrupted_set_up_starts_afresh(checkout):
    assert set_up(checkout, FAKE_INSTALL="1")[0].returncode != 0
    leftover = checkout / ".venv/half-installed"
    leftover.touch()
    result, installs = set_up(checkout)
    assert (result.returncode, installs) == (0, EVERYTHING)
    assert not leftover.exists()


def test_an_interrupted_update_is_not_taken_for_the_old_set_up(checkout):
    set_up(checkout)
    pins = checkout / "scripts/constraints.txt"
    old = pins.read_text()
    pins.write_text(old + "another==1.0\n")
    assert set_up(checkout, FAKE_INSTALL="1")[0].returncode != 0
    pins.write_text(old)
    assert set_up(checkout)[1] == EVERYTHING


def test_a_moved_checkout_is_set_up_again(checkout):
    set_up(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert set_up(moved)[1] == EVERYTHING


def test_a_folder_that_is_no_environment_is_left_alone(checkout):
    (checkout / ".venv").mkdir()
    (checkout / ".venv/thesis.txt").touch()
    result, _ = set_up(checkout)
    assert result.returncode == 1
    assert "is not a virtual environment" in result.stderr
    assert (checkout / ".venv/thesis.txt").exists()


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("FAKE_VERSION", "needs Python 3.11 or newer on PATH; found Python 3.9.2."),
        ("FAKE_VENV", "python3.11 has no venv module"),
        ("FAKE_GL", "OpenGL libraries for rendering are missing; as root: apt-get install -y libegl1"),
    ],
)
def test_what_is_missing_is_said_in_one_line_before_anything_is_made(checkout, variable, message):
    result, installs = set_up(checkout, **{variable: "1"})
    assert (result.returncode, installs) == (1, [])
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (checkout / ".venv").exists()


def test_root_gets_the_missing_libraries_installed(checkout):
    result, installs = set_up(checkout, FAKE_GL="1", FAKE_UID="0")
    assert (result.returncode, installs) == (0, ["apt-get update", "apt-get install", *EVERYTHING])
