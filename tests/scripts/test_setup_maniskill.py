"""setup_maniskill.sh with stand-ins, so nothing is installed or fetched: what it does when, and what it refuses."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The environment's Python: the first FAKE_BLIND pictures fail.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
  "-m pip install "*) echo pip >>"$FAKE_LOG"; exit "${FAKE_INSTALL:-0}" ;;
  "-m ript.simulators.maniskill") echo draw >>"$FAKE_LOG"; (($(grep -c draw "$FAKE_LOG") > FAKE_BLIND)) ;;
esac
"""
# What apt-get and dpkg are asked for; a package is a file, and unpacking it gives a library and its driver file.
FAKE_APT = """#!/bin/bash
case "$*" in
  indextargets*) echo http://mirror.example/debian/ ;;
  *" download "*)
    touch mesa-vulkan-drivers_25_amd64.deb
    echo "download" $(cat "$FAKE_TMP"/tmp.*/sources/*) >>"$FAKE_LOG" ;;
  *) echo "apt-get ${*: -1}" >>"$FAKE_LOG" ;;
esac
"""
FAKE_DPKG = """#!/bin/bash
mkdir -p "$3/usr/lib/x" "$3/usr/share/vulkan/icd.d"
echo library >"$3/usr/lib/x/libvulkan_lvp.so"
echo '{"library_path": "libvulkan_lvp.so"}' >"$3/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"
"""


@pytest.fixture
def checkout(tmp_path):
    """A copy of what setup_maniskill.sh reads, on a Debian 12, with an environment that is set up."""
    repo = tmp_path / "a checkout"
    (repo / "scripts").mkdir(parents=True)
    for name in ("setup.py", "scripts/common.sh", "scripts/constraints.txt"):
        shutil.copy(ROOT / name, repo / name)
    script = (ROOT / "scripts/setup_maniskill.sh").read_text()
    (repo / "scripts/setup_maniskill.sh").write_text(script.replace("/etc/os-release", str(tmp_path / "os-release")))
    (repo / "scripts/setup.sh").touch()
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    programs = {
        repo / ".venv/bin/python": FAKE_PYTHON,
        tmp_path / "bin/apt-get": FAKE_APT,
        tmp_path / "bin/dpkg": FAKE_DPKG,
        tmp_path / "bin/ldd": '#!/bin/bash\necho "libxcb-shm0 => ${FAKE_LDD:-/lib/it}"\n',
        tmp_path / "bin/id": '#!/bin/bash\necho "${FAKE_UID:-1000}"\n',
    }
    for path, text in programs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (repo / ".venv/.ript-mujoco-gl").write_text("egl\n")
    (tmp_path / "tmp").mkdir()
    return repo


def set_up(checkout, **variables):
    """Runs setup_maniskill.sh; returns its result and what it asked for."""
    log = checkout.parent / "log"
    log.write_text("")
    env = {
        "PATH": f"{checkout.parent / 'bin'}:{os.environ['PATH']}",
        "FAKE_LOG": str(log),
        "FAKE_BLIND": "0",
        "FAKE_TMP": str(checkout.parent / "tmp"),
        "TMPDIR": str(checkout.parent / "tmp"),
        **variables,
    }
    result = subprocess.run(
        ["bash", checkout / "scripts/setup_maniskill.sh"], env=env, cwd="/", capture_output=True, text=True, timeout=60
    )
    return result, log.read_text().splitlines()


def driver(checkout):
    return checkout / ".venv/share/ript-pi0/vulkan"


def test_where_the_systems_driver_draws_nothing_is_fetched_and_a_second_run_does_nothing(checkout):
    result, asked = set_up(checkout)
    assert (result.returncode, asked) == (0, ["pip", "draw"])
    assert not driver(checkout).exists()
    assert set_up(checkout)[1] == []


def test_else_debians_driver_is_unpacked_for_this_environment_and_the_system_is_left_alone(checkout):
    result, asked = set_up(checkout, FAKE_BLIND="1")
    assert (result.returncode, asked[:3], asked[-1]) == (0, ["pip", "draw", "apt-get update"], "draw")
    (source,) = asked[3:-1]
    assert "URIs: http://mirror.example/debian/" in source and "Suites: bookworm-backports" in source
    assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in source
    library = driver(checkout) / "libvulkan_lvp.so"
    assert library.read_text() == "library\n"
    assert f'"{library}"' in (driver(checkout) / "lvp_icd.json").read_text()
    assert list((checkout.parent / "tmp").iterdir()) == []  # nothing is left behind


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"FAKE_BLIND": "9"}, "ManiSkill cannot render here; its error is in "),
        ({"FAKE_BLIND": "1", "FAKE_LDD": "not found"}, "needs libraries; as root: apt-get install -y libllvm15 "),
    ],
)
def test_what_is_missing_is_said_in_one_line_and_tried_again_the_next_time(checkout, variables, message):
    result, _ = set_up(checkout, **variables)
    assert result.returncode == 1 and message in result.stderr and result.stderr.count("\n") == 1
    assert set_up(checkout)[1] == ["pip", "draw"]


def test_root_gets_the_missing_libraries_installed(checkout):
    result, asked = set_up(checkout, FAKE_BLIND="1", FAKE_LDD="not found", FAKE_UID="0")
    assert result.returncode == 0 and asked[-3:] == ["apt-get update", "apt-get libxshmfence1", "draw"]


def test_another_system_without_a_driver_is_told_what_to_install(checkout):
    (checkout.parent / "os-release").write_text("ID=ubuntu\nVERSION_CODENAME=jammy\n")
    result, asked = set_up(checkout, FAKE_BLIND="1")
    assert (result.returncode, asked) == (1, ["pip", "draw"])
    assert "install a GPU's, or Mesa 24 or newer (mesa-vulkan-drivers)" in result.stderr


def test_a_failed_installation_is_not_taken_for_a_set_up(checkout):
    assert set_up(checkout, FAKE_INSTALL="1")[0].returncode != 0
    assert set_up(checkout)[1] == ["pip", "draw"]
