"""Runs on two Ray nodes in network namespaces of this machine, against the same runs without Ray: equal bytes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch
from planar_run import planar_config, weights_of
from two_nodes import PORT, TESTS, Node, refused, two_nodes

from ript.training.loop import run

pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")

pytestmark = pytest.mark.slow
SHORT = ("rollout.enabled=false", "training.n_steps=3", "training.save_interval=1")
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


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@contextmanager
def learner(
    head: Node, environ: dict[str, str], run_dir: Path, policy: Path, *overrides: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The run in a process on the head node, which must end well."""
    job = (TESTS / "planar_job.py", run_dir, policy, *SHORT, f"cluster.address={head.ip}:{PORT}", *overrides)
    with (run_dir.parent / "log").open("wb") as log:
        process = subprocess.Popen(
            head.command(sys.executable, *job), env=environ, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
            assert process.wait(TIMEOUT_S) == 0, Path(log.name).read_text()
        finally:
            process.kill()


def processes_left(nodes: tuple[Node, Node]) -> list[str]:
    """Ends of the nodes' names are in their command lines no more; sessions of Ray are."""
    return [p.name() for p in psutil.process_iter() if any(node.ip in " ".join(p.cmdline()) for node in nodes)]


def test_workers_of_two_nodes_play_what_is_played_without_ray(
    tmp_path: Path, tiny_policy_folder: Path, here: dict[str, torch.Tensor]
) -> None:
    with two_nodes(["--num-cpus=1"], ["--num-cpus=1"]) as (head, other, environ):
        options = ("cluster.num_workers=2", "cluster.resources={CPU: 1}")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            for node in (head, other):
                node.wait_for(PLAYS)
    assert_equal(here, weights_of(tmp_path / "run"))
    assert not processes_left((head, other)) and not Path("/run/netns", head.name).exists()


def test_the_groups_of_a_node_that_dies_are_played_again_on_the_other(
    tmp_path: Path, tiny_policy_folder: Path, here: dict[str, torch.Tensor]
) -> None:
    with two_nodes(["--num-cpus=2"], ["--num-cpus=2"]) as (head, other, environ):
        options = ("cluster.num_workers=2", "cluster.resources={CPU: 1}")
        with learner(head, environ, tmp_path / "run", tiny_policy_folder, *options):
            worker = other.wait_for(PLAYS)
            assert len(other.kill("/raylet/raylet")) == 1
            worker.wait(60)
        assert not other.processes("ray::RolloutWorker")
    assert_equal(here, weights_of(tmp_path / "run"))
