"""Whatever comes from outside is read or refused with one of our own errors: no traceback, no hang, no growth."""

import logging
import os
import random
import time
from pathlib import Path

import psutil
import pytest
from fuzz.borders import BORDERS

MIB = 2**20


@pytest.fixture(autouse=True)
def _no_warnings_of_what_is_strange_but_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("ript").manager, "disable", logging.WARNING)


def fuzz(name: str, folder: Path, rounds: int, first: int = 0) -> dict[str, float]:
    """Reads so many damaged inputs, input i by seed i. Returns what it took; raises what the border may not raise."""
    border = BORDERS[name]
    read = border.prepare(folder)
    process, slowest, refused = psutil.Process(), 0.0, 0
    growth_from, started = 0, time.perf_counter()
    for number in range(first, first + rounds):
        if number - first == min(2000, rounds // 10):
            growth_from = process.memory_info().rss
        began = time.perf_counter()
        try:
            read(random.Random(number))
        except border.refuses:
            refused += 1
        except Exception as error:
            raise AssertionError(f"{name}, input {number}") from error
        slowest = max(slowest, time.perf_counter() - began)
    return {
        "seconds": time.perf_counter() - started,
        "slowest_s": slowest,
        "refused": refused / rounds,
        "growth_mib": (process.memory_info().rss - growth_from) / MIB,
    }


@pytest.mark.parametrize("name", BORDERS)
def test_a_few_hundred_damaged_inputs_are_read_or_refused(name: str, tmp_path: Path) -> None:
    found = fuzz(name, tmp_path, 300)
    assert 0.05 < found["refused"] <= 1 or name == "environment variables"  # the inputs are damaged indeed


@pytest.mark.slow
@pytest.mark.parametrize("name", BORDERS)
def test_many_damaged_inputs_are_read_or_refused(name: str, tmp_path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    found = fuzz(name, tmp_path, BORDERS[name].rounds)
    print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()))
    assert found["slowest_s"] < 5 and found["growth_mib"] < 50
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 5
