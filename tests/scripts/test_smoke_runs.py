"""The README's first command, for real: set-up, real LIBERO, exit code 0. Slow: scripts/test.sh -m slow."""

import os
import re
import subprocess
from pathlib import Path

import planar
import pytest

from ript.training.checkpoint import complete_checkpoints

SMOKE = Path(__file__).parents[2] / "scripts" / "openpi" / "try" / "fast_smoke.sh"
pytestmark = pytest.mark.slow


def smoke(cwd: Path, **variables: str) -> str:
    """Runs the script in `cwd`; returns what it wrote."""
    done = subprocess.run(
        ["bash", str(SMOKE)],
        cwd=cwd,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_without_any_setting_the_small_policy_learns(tmp_path: Path) -> None:
    """30 episodes before and after five iterations; the summary at the end has the gain."""
    output = smoke(tmp_path)
    before, after = (int(k) for k in re.findall(r"evaluation after \d steps: success (\d+)/30 = ", output))
    assert 0 < before < after
    assert f"{100 * (after - before) / 30:+.1f} points (95 % interval " in output


@pytest.mark.parametrize("nproc", ["1", "2"])
def test_two_steps_an_evaluation_and_a_checkpoint(tmp_path: Path, nproc: str) -> None:
    small = {"TRAINING_STEPS": "2", "BATCH_SIZE": "1", "RLOO_BATCH": "2", "ROLLOUTS_PER_ENV": "2", "NUM_ENVS": "1"}
    small |= {"MAX_EP_LEN": "60", "WAIT_STEPS": "5"}
    output = smoke(tmp_path, NPROC=nproc, **small)
    assert re.search(r"evaluation after 2 steps: success \d+/2 = ", output)
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert [path.name for path in complete_checkpoints(run_dir / "checkpoints")] == ["step_000002"]


def test_eval_only_evaluates_only(tmp_path: Path) -> None:
    output = smoke(tmp_path, EVAL_ONLY="true", ROLLOUTS_PER_ENV="2", MAX_EP_LEN="20", WAIT_STEPS="0", NUM_ENVS="1")
    assert "evaluation after 0 steps: success" in output
    (run_dir,) = (tmp_path / "runs").iterdir()
    assert complete_checkpoints(run_dir / "checkpoints") == []


def test_a_folder_of_openpi_is_evaluated(tmp_path: Path) -> None:
    """A checkpoint without any file of ours but the sizes of its network, which have no public name."""
    folder = planar.write_tiny_policy(tmp_path / "openpi")
    for name in ("policy.json", "condition.safetensors"):
        (folder / name).unlink()
    stats = folder / "assets" / "physical-intelligence" / "libero" / "norm_stats.json"
    stats.parent.mkdir(parents=True)
    (folder / "norm_stats.json").rename(stats)
    short = {"ROLLOUTS_PER_ENV": "2", "MAX_EP_LEN": "20", "WAIT_STEPS": "0", "NUM_ENVS": "1"}
    output = smoke(tmp_path, EVAL_ONLY="true", PRETRAIN_PATH=str(folder), **short)
    assert "evaluation after 0 steps: success" in output
