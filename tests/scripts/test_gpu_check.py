"""gpu_check.sh: on a CPU with tiny networks, so that only the kit is tried and no figure means anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURE = re.compile(r"\d+(\.\d+)? (ms|s|GiB|skipped)|EGL device \d")


def check(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "RIPT_VENV": sys.prefix, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env |= {"CUDA_VISIBLE_DEVICES": "", **variables}
    return subprocess.run(
        ["bash", ROOT / "scripts/gpu_check.sh", *arguments], env=env, capture_output=True, text=True, cwd="/"
    )


def on_the_cpu(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return check("--sizes", "tiny", "--device", "cpu", "--seconds", "3000", *arguments, **variables)


def rows(output: str) -> list[list[str]]:
    lines = [line for line in output.splitlines() if line.startswith("| ")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_without_cuda_it_says_so_in_one_line() -> None:
    done = check()
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(r"error: torch \S+ finds no CUDA device; .*\n", done.stderr)


def test_a_part_that_fails_is_in_the_table_and_the_others_go_on() -> None:
    done = on_the_cpu("--parts", "iteration", "ppo", MUJOCO_EGL_DEVICE_ID="99")
    assert done.returncode == 1, done.stderr
    found = rows(done.stdout)
    (failed,) = [result for part, _, result in found if part == "small π0, one iteration"]
    assert failed.startswith("**failed**: ValueError: MUJOCO_EGL_DEVICE_ID='99' is not valid")
    measured = [result for part, _, result in found if part == "π0, PPO, expert only"]
    assert len(measured) == 3 and all(FIGURE.search(result) for result in measured)
    ratio = re.search(r"([\d.]+) × the estimate", measured[0])
    assert ratio and 0.5 < float(ratio[1]) < 2


def test_a_part_without_time_is_in_the_table() -> None:
    done = on_the_cpu("--parts", "pi0", "--seconds", "6")
    assert done.returncode == 1
    assert rows(done.stdout) == [["π0, inference", "", "**failed**: no time was left"]]


@pytest.mark.slow
def test_the_whole_kit_measures_every_part_with_tiny_networks() -> None:
    done = on_the_cpu()
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done.stdout)
    assert [len([row for row in found if row[0] == part]) for part in dict.fromkeys(row[0] for row in found)] == [
        *(4, 4, 3, 3, 1, 3, 4, 4)
    ]
    assert all(FIGURE.search(result) for _, _, result in found)
