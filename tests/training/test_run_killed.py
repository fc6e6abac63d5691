"""kill -9 of whole jobs, launched by torchrun, between two checkpoints; and their resumption."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from planar_run import ALGORITHMS, weights_of

from ript.training.checkpoint import complete_checkpoints

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def start(run_dir: Path, policy: Path, ranks: int, *overrides: str) -> subprocess.Popen[bytes]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*launcher, str(TESTS / "planar_job.py"), str(run_dir), str(policy), *overrides]
    return subprocess.Popen(command, env=environ)


def kill_all(job: subprocess.Popen[bytes]) -> None:
    """The launcher, its ranks and whatever they started."""
    everyone = [psutil.Process(job.pid), *psutil.Process(job.pid).children(recursive=True)]
    for process in everyone:
        process.kill()
    job.wait()
    psutil.wait_procs(everyone)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_job_killed_with_9_and_resumed_ends_as_one_that_was_not(
    tmp_path: Path, tiny_policy_folder: Path, algorithm: str, ranks: int
) -> None:
    overrides = (*ALGORITHMS[algorithm], "rollout.enabled=false")
    assert start(tmp_path / "whole", tiny_policy_folder, ranks, *overrides).wait() == 0
    job = start(tmp_path / "parts", tiny_policy_folder, ranks, *overrides)
    log = tmp_path / "parts" / "metrics.jsonl"
    while not log.is_file() or log.read_text().count("\n") < 3:
        assert job.poll() is None
        time.sleep(0.002)
    kill_all(job)
    saved = [path.name for path in complete_checkpoints(tmp_path / "parts" / "checkpoints")]
    assert saved == ["step_000002"]
    assert start(tmp_path / "parts", tiny_policy_folder, ranks, *overrides, "training.resume=true").wait() == 0
    whole, parts = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
