"""The program as users start it: real processes, real LIBERO."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from forked_program import SCRIPT, run_program

from ript.training.checkpoint import complete_checkpoints

BOWL = "pick_up_the_black_bowl_between_the_plate_and_the_ramekin_and_place_it_on_the_plate"
KETCHUP = "pick_up_the_ketchup_and_place_it_in_the_basket"
TWO_RANKS = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
SMALL = (
    "task=libero_spatial",
    "algo.max_episode_length=20",
    "algo.num_steps_wait=0",
    "algo.num_parallel_envs=1",
    "algo.rloo_batch_size=2",
    "algo.demo_batch_size=1",
    "algo.enable_dynamic_sampling=false",
    "algo.image_size=32",
    "training.n_steps=1",
    "rollout.rollouts_per_env=2",
    "logging.use_tqdm=false",
    f"task.task_names_to_use=[{BOWL}]",
)


def start(launcher: list[str], cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, str(SCRIPT), *overrides]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("override", "named", "valid"),
    [
        ("task.benchmark_name=libero_spatia", "libero_spatia", "libero_spatial"),
        ("task=libero_spatia", "libero_spatia", "libero_10, libero_90, libero_goal, libero_object, libero_spatial"),
        ("algo.learning_rate=1e-4", "algo.learning_rate", "override"),
        ("task.task_names_to_use=[pick_up_the_bowl]", "pick_up_the_bowl", KETCHUP),
        ("algo.condition_mode=concatt", "concatt", "concat, bias, token"),
        ("algo.demo_batch_size=-1", "-1", "at least 1"),
        ("algo.pretrained_path=no/such/folder", "no/such/folder", "folder"),
        ("paths.run_name=lr=1e-4", "'paths.run_name=lr=1e-4' is not", "'paths.run_name=\"lr=1e-4\"'"),
        ("algo.pretrained_path=~/x", "'algo.pretrained_path=~/x' is not", "'algo.pretrained_path=\"~/x\"'"),
        ("paths.run_name=a,b", "'paths.run_name=a,b' is not", "'paths.run_name=\"a,b\"'"),
        ("paths.run_name={a", "'paths.run_name={a' is not", "'paths.run_name=\"{a\"'"),
        ("algo.lr", "'algo.lr' is not", "key=value"),
        ("logging.tensorboard=false", "logging.tensorboard", "write logging.backends=[tensorboard], or []"),
        ("logging.wandb.mode=offline", "logging.wandb.mode", "write logging.backends=[tensorboard,wandb]"),
        ("+=3", "'+=3' is not", "key=value"),
    ],
)
def test_bad_input_ends_with_one_line_and_an_exit_code(tmp_path: Path, override: str, named: str, valid: str) -> None:
    ended = run_program(tmp_path, override)
    assert ended.exit_code == 2
    errors = [line for line in ended.errors.splitlines() if "error:" in line]
    assert len(errors) == 1 and "Traceback" not in ended.errors
    assert named in errors[0] and valid in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_two_ranks_train_evaluate_and_save_on_libero(tmp_path: Path) -> None:
    done = start(TWO_RANKS, tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "evaluation after 1 steps: success 0/2" in done.stderr
    (run_dir,) = (tmp_path / "runs").iterdir()
    train, evaluation = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    assert train["num_windows"] == 4  # two ranks × one group × two rollouts × one window
    assert train["env_steps"] == 80 and evaluation["rollout_count"] == 2
    assert len(complete_checkpoints(run_dir / "checkpoints")) == 1


@pytest.mark.slow
def test_a_job_ends_within_a_minute_when_one_of_its_ranks_dies_and_names_it(tmp_path: Path) -> None:
    errors = tmp_path / "stderr"
    with errors.open("w") as file:
        command = [*TWO_RANKS, str(SCRIPT), *SMALL, "training.n_steps=1000", "rollout.enabled=false"]
        job = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=file)
    try:
        while "step 2:" not in errors.read_text():
            assert job.poll() is None, errors.read_text()[-3000:]
            time.sleep(0.5)
        ranks = psutil.Process(job.pid).children()
        everyone = psutil.Process(job.pid).children(recursive=True)
        next(rank for rank in ranks if rank.environ().get("LOCAL_RANK") == "1").kill()
        assert job.wait(timeout=60) != 0
    finally:
        job.kill()
    psutil.wait_procs(everyone, timeout=30)
    assert not [process for process in everyone if process.is_running()]
    assert "local_rank: 1" in errors.read_text()
