import jobs
import pytest
import torch
from ranks import run_ranks

from ript.distributed import Distributed, fill_in_environment


def test_one_process_needs_no_torchrun() -> None:
    environ: dict[str, str] = {}
    fill_in_environment(environ)
    assert (environ["RANK"], environ["WORLD_SIZE"], environ["LOCAL_RANK"]) == ("0", "1", "0")
    assert 1024 < int(environ["MASTER_PORT"]) < 65536


def test_what_torchrun_set_is_kept() -> None:
    environ = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_PORT": "29500"}
    fill_in_environment(environ)
    assert environ == {"RANK": "3", "WORLD_SIZE": "4", "MASTER_PORT": "29500"}


def test_a_parameter_without_a_gradient_counts_as_zero() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    Distributed().sum_gradients([parameter])
    assert parameter.grad is not None and not parameter.grad.any()


def test_metrics_are_sums_over_ranks_even_of_keys_that_only_one_rank_has() -> None:
    for sums, largest in run_ranks(jobs.reduce_metrics, 2):
        assert sums == {"shared": 3.0, "only_0": 5.0, "only_1": 5.0}
        assert largest == 1


def test_the_counter_is_shared_by_ranks_and_can_be_reset() -> None:
    assert run_ranks(jobs.count_together, 2, 50) == [(100, 0), (100, 0)]


@pytest.mark.parametrize("times", [0, 3])
def test_one_process_counts_alone(times: int) -> None:
    assert jobs.count_together(Distributed(), times) == (times, 0)
