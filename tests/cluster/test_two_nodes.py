"""Runs on two Ray nodes in network namespaces of this machine, against the same runs without Ray: equal bytes."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from planar_run import assert_equal_weights, planar_config, weights_of
from two_nodes import PORT, TESTS, Node, refused, two_nodes

from ript.training.checkpoint import complete_checkpoints
from ript.training.loop import run

pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")

pytestmark = pytest.mark.slow
SHORT = ("rollout.enabled=false", "training.n_steps=3", "training.save_interval=1")
SIMULATORS = ("algo.env_runner._target_=process_planes.ProcessesRunner", "algo.num_parallel_envs=2")
PLAYS = "ray::RolloutWorker.groups"
"""What Ray calls a process that plays."""
TIMEOUT_S = 300


@pytest.fixture(autouse=True, scope="module")
def _namespaces_are_allowed() -> None:
    if reason := refused():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_policy_folder: Path) -> dict[str, torch.Tensor]:
    """The weights of the run without Ray."""
    return final(tmp_path_factory.mktemp("here") / "run", tiny_policy_folder)


def final(run_dir: Path, policy: Path, *overrides: str) -> dict[str, torch.Tensor]:
    run(planar_config(run_dir, policy, *SHORT, *overrides))
    return weights_of(run_dir)


@contextmanager
def learner(head: Node, environ: dict[str, str], run_dir: Path, policy: Path, *overrides: str) -> Iterator[None]:
    """The run in a process on the head node, which must end well. Its log lies beside the run's folder."""
    job = (TESTS / "planar_job.py", run_dir, policy, *SHORT, f"cluster.address={head.ip}:{PORT}", *overrides)
    command, log = head.command(sys.executable, *job), run_dir.parent / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environ, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield
        assert process.wait(TIMEOUT_S) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def wait_for_checkpoint(run_dir: Path) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not complete_checkpoints(run_dir / "checkpoints"):
        assert time.monotonic() < deadline, f"no checkpoint after {TIMEOUT_S} s"
        time.sleep(0.02)


def assert_nothing_is_left(*nodes: Node) -> None:
    """Neither processes nor namespaces nor cables."""
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    links = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout
    for node in nodes:
        assert not [command for command in commands if node.ip in command]
        assert not Path("/run/netns", node.name).exists() and node.name not in links


def test_workers_of_two_nodes_play_what_is_played_without_ray(
    tmp_path: Path, tiny_policy_folder: Path, here: dict[str, torch.Tensor]
) -> None:
    with two_nodes(["--num-cpus=1"], ["--num-cpus=1"]) as (head, other, environ):
        options = ("cluster.num_workers=2", "cluster.resources={CPU: 1}")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            for node in (head, other):
                node.wait_for(PLAYS)
    assert_equal_weights(here, weights_of(tmp_path / "run"))
    assert_nothing_is_left(head, other)


@pytest.mark.parametrize("fault", ["killed", "unplugged"])
def test_the_groups_of_a_node_that_is_lost_are_played_again_on_the_other(
    tmp_path: Path, tiny_policy_folder: Path, here: dict[str, torch.Tensor], fault: str
) -> None:
    with two_nodes(["--num-cpus=2"], ["--num-cpus=2"]) as (head, other, environ):
        options = ("cluster.num_workers=2", "cluster.resources={CPU: 1}")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            worker = other.wait_for(PLAYS)
            if fault == "killed":
                assert len(other.kill("/raylet/raylet")) == 1
                worker.wait(60)
            else:
                other.unplug()
    assert_equal_weights(here, weights_of(tmp_path / "run"))
    assert_nothing_is_left(head, other)


def test_simulators_on_another_node_and_one_that_is_killed_change_no_weight(
    tmp_path: Path, tiny_policy_folder: Path
) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, *SIMULATORS)
    with two_nodes(["--num-cpus=2"], ["--num-cpus=2", '--resources={"simulators": 2}']) as (head, other, environ):
        options = (*SIMULATORS, "cluster.placement=simulators", "cluster.resources={simulators: 1}")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            wait_for_checkpoint(tmp_path / "run")
            assert not head.processes("ray::EnvWorker") and len(other.processes("ray::EnvWorker")) == 2
            other.processes("ray::EnvWorker")[0].kill()
    assert "are played again: environment worker" in (tmp_path / "log").read_text()
    assert_equal_weights(here, weights_of(tmp_path / "run"))
    assert_nothing_is_left(head, other)


def test_simulators_of_a_node_that_dies_are_made_anew_on_the_other(tmp_path: Path, tiny_policy_folder: Path) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, *SIMULATORS)
    with two_nodes(["--num-cpus=2"], ["--num-cpus=2"]) as (head, other, environ):
        options = (*SIMULATORS, "cluster.placement=simulators")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            wait_for_checkpoint(tmp_path / "run")
            assert len(other.processes("ray::EnvWorker")) == 1
            assert len(other.kill("/raylet/raylet")) == 1
    assert "are played again: environment worker" in (tmp_path / "log").read_text()
    assert_equal_weights(here, weights_of(tmp_path / "run"))
    assert_nothing_is_left(head, other)
