import subprocess
import sys
import time

import pytest

import ript.training.memory as memory
from ript.distributed import Distributed

HOLD = "block = b'x' * (300 * 2**20); print('held', flush=True); input()"


def test_what_child_processes_hold_is_counted_until_it_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "INTERVAL_S", 0.02)
    watch = memory.MemoryWatch()
    before = watch.take()
    with subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.3)
        child.communicate(b"\n")
    time.sleep(0.3)
    peak, after = watch.take(), watch.take()
    watch.close()
    assert before > 0.05 and before + 0.28 < peak < before + 0.4
    assert after < peak - 0.2


def test_without_a_gpu_only_the_cpu_is_reported() -> None:
    watch = memory.MemoryWatch()
    assert memory.memory_metrics(watch, Distributed()).keys() == {"memory/cpu_gib"}
    watch.close()
