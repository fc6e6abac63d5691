"""Two ranks of torchrun that use one Ray cluster, against two ranks without Ray: equal bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from planar_run import assert_equal_weights, weights_of

ray = pytest.importorskip("ray", reason="needs Ray: python -m pip install -c scripts/constraints.txt -e '.[cluster]'")

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
SHORT = ("rollout.enabled=false", "training.n_steps=2", "training.save_interval=2", "cluster.resources={CPU: 1}")
PROCESSES = ("algo.env_runner._target_=process_planes.ProcessesRunner", "algo.num_parallel_envs=2")


def torchrun(run_dir: Path, policy: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """The run on two ranks, in processes of their own."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    job = (TESTS / "planar_job.py", run_dir, policy, *SHORT, *PROCESSES, *overrides)
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run([sys.executable, *launcher, *job], env=environ, capture_output=True, text=True, timeout=400)


def final(run_dir: Path, policy: Path, *overrides: str) -> dict[str, torch.Tensor]:
    done = torchrun(run_dir, policy, *overrides)
    assert done.returncode == 0, done.stderr
    return weights_of(run_dir)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_policy_folder: Path) -> dict[str, torch.Tensor]:
    """The weights of two ranks without Ray."""
    return final(tmp_path_factory.mktemp("here") / "run", tiny_policy_folder)


@pytest.fixture
def address(cluster: str) -> str:
    """Of the session's cluster, as other processes join it."""
    return f"cluster.address={ray.get_runtime_context().gcs_address}"


@pytest.mark.parametrize("placement", ["rollouts", "simulators"])
def test_two_ranks_share_a_cluster_and_change_no_weight(
    tmp_path: Path, tiny_policy_folder: Path, here: dict[str, torch.Tensor], address: str, placement: str
) -> None:
    there = final(tmp_path / "there", tiny_policy_folder, address, f"cluster.placement={placement}")
    assert_equal_weights(here, there)


def test_ranks_that_share_out_their_weights_may_have_simulators_in_a_cluster(
    tmp_path: Path, tiny_policy_folder: Path, address: str
) -> None:
    here = final(tmp_path / "here", tiny_policy_folder, "cluster.sharding=fsdp2")
    remote = ("cluster.sharding=fsdp2", "cluster.placement=simulators", address)
    assert_equal_weights(here, final(tmp_path / "there", tiny_policy_folder, *remote))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cluster.num_workers=3",), "cluster.num_workers: 6 rollout workers of all ranks need CPU 1 each, and 4 of"),
        (
            ("cluster.placement=simulators", "algo.num_parallel_envs=3"),
            "algo.num_parallel_envs: 6 simulators of all ranks need CPU 1 each, and 4 of",
        ),
    ],
)
def test_what_does_not_fit_for_all_ranks_together_is_refused(
    tmp_path: Path, tiny_policy_folder: Path, address: str, overrides: tuple[str, ...], message: str
) -> None:
    done = torchrun(tmp_path / "run", tiny_policy_folder, address, *overrides)
    assert done.returncode != 0 and message in done.stderr and not (tmp_path / "run" / "checkpoints").exists()
