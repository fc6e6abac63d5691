"""kill -9 at random moments of a checkpoint write."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ript.training.checkpoint import complete_checkpoints, find_checkpoint, load_state

WRITE = """
import sys, torch
from pathlib import Path
from ript.distributed import Distributed
from ript.training.checkpoint import save_checkpoint
root = Path(sys.argv[1])
number = int(sys.argv[2])
print("ready", flush=True)
while True:
    number += 1
    save_checkpoint(root, number, 2, Distributed(), save_policy=Path.mkdir,
        state={"step": number, "numbers": torch.full((2_000_000,), float(number))}, save_arrays=lambda folder: None)
"""


@pytest.mark.slow
def test_the_newest_complete_checkpoint_survives_25_kills(tmp_path: Path) -> None:
    root, rng, last = tmp_path / "checkpoints", random.Random(0), 0
    for _ in range(25):
        process = subprocess.Popen([sys.executable, "-c", WRITE, root, str(last)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.01, 0.5))
        process.kill()
        process.communicate()
        found = find_checkpoint(tmp_path, "auto", None)
        if found is not None:
            state = load_state(found)
            assert state["step"] >= last and (state["numbers"] == state["step"]).all()
            last = state["step"]
    assert last > 25
    assert 1 <= len(complete_checkpoints(root)) <= 3
