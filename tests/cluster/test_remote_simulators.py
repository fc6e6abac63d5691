"""Pools of environments in a Ray cluster, and runs whose simulators they are: equal bytes with runs without Ray."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from light_env import LightEnv, one_hangs_the_other_fails
from planar_run import GRPO, planar_config, weights_of

from ript.env_runner.workers import WorkerError
from ript.training.loop import InputError, run

ray = pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")
from ript.cluster import env_pool  # noqa: E402 (it imports Ray)
from ript.cluster.env_pool import RayEnvPool  # noqa: E402

pytestmark = pytest.mark.slow
SHORT = ("algo.env_runner._target_=process_planes.ProcessesRunner", "training.n_steps=2", "training.save_interval=1")
STAGES = ("algo.pipeline_stage_num=2",)
TESTS = Path(__file__).parents[1]


def pool_of(make_env: Callable[[], Any] = LightEnv, num_envs: int = 2, **options: Any) -> RayEnvPool:
    return RayEnvPool(make_env, num_envs, **{"resources": {"CPU": 1}, "start_s": 120, **options})


@pytest.fixture(scope="module")
def pool(cluster: str) -> Iterator[RayEnvPool]:
    with pool_of() as pool:
        yield pool


def pids_of(pool: RayEnvPool) -> list[int]:
    return pool.call("pid", [()] * pool.num_envs)


def all_end(pids: list[int]) -> bool:
    deadline = time.monotonic() + 30
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(psutil.pid_exists, pids))


def test_request_i_goes_to_environment_i_and_none_sits_out(pool: RayEnvPool) -> None:
    assert pool.reset([(1,), {"value": 2, "plus": 3}]) == [1, 5]
    assert pool.step_chunk([None, (4,)]) == [None, 8]
    assert len(set(pids_of(pool))) == 2 and os.getpid() not in pids_of(pool)
    assert pool.call("environ", [("OMP_NUM_THREADS",)] * 2) == ["1", "1"]


def test_environments_work_at_the_same_time(pool: RayEnvPool, tmp_path: Path) -> None:
    assert pool.call("meet", [(tmp_path, "a", "b"), (tmp_path, "b", "a")]) == [True, True]


def test_environments_can_be_asked_while_others_are_yet_to_answer_and_answers_go_to_who_asked(
    pool: RayEnvPool, tmp_path: Path
) -> None:
    first = pool.ask("meet", [(tmp_path, "a", "b"), None])
    second = pool.ask("meet", [None, (tmp_path, "b", "a")])
    assert second() == [None, True] and first() == [True, None]
    failing, fine = pool.begin_chunk([(-7,), None]), pool.begin_chunk([None, (4,)])
    with pytest.raises(RuntimeError, match=r"reset: environments \[0, 1\] were asked before"):
        pool.reset([(1,), (2,)])
    with pytest.raises(WorkerError, match=r"worker 0 failed in step_chunk"):
        failing()
    assert fine() == [None, 8] and pool.reset([(1,), (2,)]) == [1, 2]


def test_an_exception_comes_with_worker_and_traceback_and_leaves_the_pool_usable(pool: RayEnvPool) -> None:
    with pytest.raises(WorkerError, match=r"worker 1 failed in step_chunk") as caught:
        pool.step_chunk([(1,), (-7,)])
    assert "light_env.py" in str(caught.value) and "ValueError: cannot step by -7" in str(caught.value)
    with pytest.raises(WorkerError, match="worker 0 failed in read") as caught:
        pool.call("read", [("/nowhere",), None])
    assert isinstance(caught.value.__cause__, OSError)
    assert pool.step_chunk([(1,), (2,)]) == [2, 4]


def test_a_killed_worker_is_reported_and_closes_the_pool(cluster: str) -> None:
    pool = pool_of()
    pids = pids_of(pool)
    os.kill(pids[1], signal.SIGKILL)
    with pytest.raises(WorkerError, match="worker 1 was lost") as caught:
        pool.reset([(), ()])
    assert caught.value.index == 1 and pool.is_closed and all_end(pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.reset([(), ()])


def test_a_hang_ends_after_the_timeout_and_leaves_no_process(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(env_pool, "GRACE_S", 0.2)
    pool = pool_of()
    pids = pids_of(pool)
    pool._timeout_s = 1.0
    with pytest.raises(WorkerError, match=r"worker 1 did not answer within 1 s \(waiting for \[1\]"):
        pool.call("sleep", [(0,), (300,)])
    assert pool.is_closed and all_end(pids)


def test_an_environment_that_cannot_be_made_fails_the_pool_without_waiting_for_the_others(
    cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(env_pool, "GRACE_S", 0.2)
    with pytest.raises(WorkerError, match="could not make its environment") as caught:
        pool_of(partial(one_hangs_the_other_fails, tmp_path))
    assert "no OpenGL here" in str(caught.value)


def test_environments_for_which_there_is_no_room_are_reported_with_what_is_free(cluster: str) -> None:
    with pytest.raises(WorkerError, match=r"did not answer within 3 s .*of the cluster is free: .*CPU"):
        pool_of(num_envs=1, resources={"CPU": 100}, start_s=3)


def test_close_closes_the_environments_and_ends_their_processes(cluster: str, tmp_path: Path) -> None:
    pool = pool_of(partial(LightEnv, tmp_path / "closed"), 1)
    pids = pids_of(pool)
    pool.close()
    pool.close()
    assert (tmp_path / "closed").exists() and all_end(pids)


def test_a_pool_that_is_forgotten_leaves_no_process(cluster: str) -> None:
    pids = pids_of(pool_of(num_envs=1))
    assert all_end(pids)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of environments of the pools that a run makes in the cluster."""
    numbers: list[int] = []
    make = RayEnvPool.__init__

    def counting(self: RayEnvPool, make_env: Any, num_envs: int, *rest: Any) -> None:
        numbers.append(num_envs)
        make(self, make_env, num_envs, *rest)

    monkeypatch.setattr(RayEnvPool, "__init__", counting)
    return numbers


def final(run_dir: Path, policy: Path, *overrides: str) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The weights that a run ends with, and what its evaluations found."""
    run(planar_config(run_dir, policy, *SHORT, *overrides))
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    found = [{name: value for name, value in line.items() if "time" not in name} for line in lines]
    weights = {name: tensor.numpy().tobytes() for name, tensor in weights_of(run_dir).items()}
    return weights, [line for line in found if line["phase"] == "eval"]


def remote(address: str) -> tuple[str, ...]:
    return (f"cluster.address={address}", "cluster.placement=simulators")


@pytest.mark.parametrize(
    ("environments", "algorithm"), [(1, ()), (2, GRPO[:-1]), (2, STAGES)], ids=["1", "2", "2 stages"]
)
def test_weights_and_evaluations_are_those_of_simulators_here(
    tmp_path: Path,
    tiny_policy_folder: Path,
    cluster: str,
    made: list[int],
    environments: int,
    algorithm: tuple[str, ...],
) -> None:
    options = (*algorithm, f"algo.num_parallel_envs={environments}", "rollout.rollouts_per_env=2", "rollout.interval=1")
    here = final(tmp_path / "here", tiny_policy_folder, *options)
    assert not made
    there = final(tmp_path / "there", tiny_policy_folder, *options, *remote(cluster))
    assert made == [environments]
    assert len(here[1]) == 2 and here == there


@pytest.mark.parametrize("stages", [(), STAGES], ids=["1", "2"])
def test_a_killed_simulator_plays_its_group_again(
    tmp_path: Path,
    tiny_policy_folder: Path,
    cluster: str,
    made: list[int],
    caplog: pytest.LogCaptureFixture,
    stages: tuple[str, ...],
) -> None:
    options = ("algo.num_parallel_envs=2", "rollout.enabled=false", *stages)
    here = final(tmp_path / "here", tiny_policy_folder, *options)
    (tmp_path / "die").touch()
    there = final(tmp_path / "there", tiny_policy_folder, *options, *remote(cluster))
    assert not (tmp_path / "die").exists() and "are played again: environment worker" in caplog.text
    assert made == [2, 2] and here == there


def test_simulators_that_do_not_fit_are_refused_before_anything_starts(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str
) -> None:
    asked = (*remote(cluster), "algo.num_parallel_envs=3", "cluster.resources={CPU: 2}")
    with pytest.raises(InputError, match=r"algo.num_parallel_envs: 3 simulators of all ranks need CPU 2 each, and 2 "):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *SHORT, *asked))


def test_a_cluster_of_the_runs_own_ends_with_it(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = (*SHORT, "algo.num_parallel_envs=1", "rollout.enabled=false", *remote("local"))
    job = (TESTS / "planar_job.py", tmp_path / "run", tiny_policy_folder, *options)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen([sys.executable, *job], env=environ) as process:
        started: set[psutil.Process] = set()
        while process.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                started |= set(psutil.Process(process.pid).children(recursive=True))
            time.sleep(0.2)
    assert process.returncode == 0 and len(started) > 4
    assert not psutil.wait_procs(started, timeout=20)[1]
