"""Runs whose groups are played by rollout workers, against the same runs in this process: equal bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from planar_run import EVERYTHING, NOISE, assert_equal_weights, planar_config, weights_of

from ript.algos.rl_optimizers.group_source import GroupRequest
from ript.training.checkpoint import complete_checkpoints
from ript.training.loop import InputError, run

ray = pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")
from ript.cluster.remote_groups import RemoteGroups  # noqa: E402 (it imports Ray)

pytestmark = pytest.mark.slow
SHORT = ("rollout.enabled=false", "training.n_steps=3", "training.save_interval=1")
PROCESSES = ("algo.env_runner._target_=process_planes.ProcessesRunner", "algo.num_parallel_envs=2")


def remote(address: str, workers: int, *more: str) -> tuple[str, ...]:
    return (f"cluster.address={address}", f"cluster.num_workers={workers}", "cluster.resources={CPU: 1}", *more)


def final(run_dir: Path, policy: Path, *overrides: str) -> dict[str, torch.Tensor]:
    """The weights that a run ends with."""
    run(planar_config(run_dir, policy, *overrides))
    return weights_of(run_dir)


@pytest.fixture
def on_asking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls a function, once, when the second iteration's groups have been asked for; it gets their source."""

    def arrange(do: Any) -> list[int]:
        expect, done = RemoteGroups.expect, []

        def expecting(self: RemoteGroups, requests: Sequence[GroupRequest]) -> None:
            processes = ray.get([worker.process.remote() for worker in self._workers])
            expect(self, requests)
            if requests[0].iteration == 1 and not done:
                done.extend(processes)
                do(processes[0])

        monkeypatch.setattr(RemoteGroups, "expect", expecting)
        return done

    return arrange


@pytest.mark.parametrize(("workers", "algorithm"), [(1, EVERYTHING), (2, NOISE)], ids=["cfg_flow", "noise"])
def test_weights_are_those_of_a_run_in_this_process(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str, workers: int, algorithm: tuple[str, ...]
) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, *algorithm, *SHORT)
    there = final(tmp_path / "there", tiny_policy_folder, *algorithm, *SHORT, *remote(cluster, workers))
    assert_equal_weights(here, there)


def test_a_killed_worker_plays_its_groups_again(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str, on_asking: Any
) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, *SHORT)
    killed = on_asking(lambda process: os.kill(process, signal.SIGKILL))
    there = final(tmp_path / "there", tiny_policy_folder, *SHORT, *remote(cluster, 2))
    assert killed and not psutil.pid_exists(killed[0])
    assert_equal_weights(here, there)


def test_a_killed_simulator_plays_its_group_again(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str, on_asking: Any
) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, *SHORT, *PROCESSES)
    on_asking(lambda process: (tmp_path / "die").touch())
    there = final(tmp_path / "there", tiny_policy_folder, *SHORT, *PROCESSES, *remote(cluster, 1))
    assert not (tmp_path / "die").exists(), "no simulator died"
    assert_equal_weights(here, there)


def test_a_run_with_staleness_repeats_itself_and_goes_on_after_a_kill(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str
) -> None:
    options = (*NOISE, *SHORT, "cluster.staleness=1")
    whole = final(tmp_path / "whole", tiny_policy_folder, *options, *remote(cluster, 1))
    run(planar_config(tmp_path / "parts", tiny_policy_folder, *options, *remote(cluster, 2), "training.cut=2"))
    parts = final(tmp_path / "parts", tiny_policy_folder, *options, *remote(cluster, 2), "training.resume=true")
    assert_equal_weights(whole, parts)
    fresh = final(tmp_path / "fresh", tiny_policy_folder, *NOISE, *SHORT)
    assert any(not torch.equal(whole[name], fresh[name]) for name in whole)


def test_a_policy_that_differs_on_a_node_is_refused_before_anything_is_played(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ript.cluster.remote_groups.fingerprint", lambda policy: "of another folder")
    with pytest.raises(InputError, match=r"other frozen weights than the learner in .*policy"):
        run(planar_config(tmp_path / "run", tiny_policy_folder, *SHORT, *remote(cluster, 1)))


def test_a_worker_that_is_not_ready_in_time_is_told_with_what_is_free(
    tmp_path: Path, tiny_policy_folder: Path, cluster: str
) -> None:
    with pytest.raises(InputError, match=r"0 of 1 rollout workers were ready after 0\.01 s; .*CPU"):
        late = remote(cluster, 1, "cluster.timeouts.start_s=0.01")
        run(planar_config(tmp_path / "run", tiny_policy_folder, *SHORT, *late))


def descendants(process: psutil.Process) -> Iterator[psutil.Process]:
    yield from process.children(recursive=True)


def test_sigterm_saves_and_leaves_no_process(tmp_path: Path, tiny_policy_folder: Path) -> None:
    script, run_dir = Path(__file__).parents[1] / "planar_job.py", tmp_path / "run"
    options = (*SHORT[:1], *PROCESSES, "training.n_steps=500", "training.save_interval=1", *remote("local", 1))
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(script.parent), os.environ.get("PYTHONPATH", "")])}
    job = subprocess.Popen([sys.executable, script, run_dir, tiny_policy_folder, *options], env=environ)
    deadline = time.monotonic() + 300
    while not complete_checkpoints(run_dir / "checkpoints"):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.5)
    started = list(descendants(psutil.Process(job.pid)))
    job.send_signal(signal.SIGTERM)
    assert job.wait(120) == 143
    assert len(complete_checkpoints(run_dir / "checkpoints")) >= 1
    assert len(started) > 4
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
