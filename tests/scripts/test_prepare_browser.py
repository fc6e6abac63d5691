"""prepare_browser of common.sh with stand-ins for the system's commands, so nothing is installed."""

import subprocess
from pathlib import Path

import pytest

COMMON = Path(__file__).resolve().parents[2] / "scripts" / "common.sh"
PACKAGES = "-y --no-install-recommends chromium chromium-driver"


def prepare(
    folder: Path, uid: int, *programs: str, apt: int | None = 0
) -> tuple[subprocess.CompletedProcess[str], str]:
    """Runs it where only these programs are; `apt` is the exit status of `apt-get install`, None for no apt-get."""
    log, bin_dir = folder / "log", folder / "bin"
    bin_dir.mkdir()
    log.touch()
    scripts = {"id": f"echo {uid}", **dict.fromkeys(programs, "")}
    if apt is not None:
        scripts["apt-get"] = f'echo "$@" >>{log}; [[ $1 != install ]] || exit {apt}'
    for name, text in scripts.items():
        (bin_dir / name).write_text(f"#!/bin/bash\n{text}\n")
        (bin_dir / name).chmod(0o755)
    (bin_dir / "dirname").symlink_to("/usr/bin/dirname")
    (bin_dir / "realpath").symlink_to("/usr/bin/realpath")
    command = ["/bin/bash", "-c", f"set -euo pipefail; source {COMMON}; prepare_browser"]
    done = subprocess.run(command, env={"PATH": str(bin_dir)}, capture_output=True, text=True, timeout=30)
    return done, log.read_text()


def test_root_gets_the_browser_installed(tmp_path: Path) -> None:
    done, log = prepare(tmp_path, 0)
    assert (done.returncode, log) == (0, f"update\ninstall {PACKAGES}\n")


@pytest.mark.parametrize(
    ("uid", "programs", "apt"),
    [(0, ("chromium", "chromedriver"), 0), (1000, (), 0), (0, (), None)],
    ids=["a browser is there", "not root", "no apt-get"],
)
def test_otherwise_nothing_is_installed(tmp_path: Path, uid: int, programs: tuple[str, ...], apt: int | None) -> None:
    done, log = prepare(tmp_path, uid, *programs, apt=apt)
    assert (done.returncode, done.stdout, done.stderr, log) == (0, "", "", "")


def test_a_browser_without_its_driver_is_not_enough(tmp_path: Path) -> None:
    assert "install" in prepare(tmp_path, 0, "chromium")[1]


def test_without_a_network_the_other_tests_run(tmp_path: Path) -> None:
    done, _ = prepare(tmp_path, 0, apt=100)
    assert done.returncode == 0 and "No browser: the tests of pages are skipped" in done.stderr
