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
    environ = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    kept = dict(environ)
    fill_in_environment(environ)
    assert environ == kept
    fill_in_environment({"RANK": "0", "WORLD_SIZE": "1"})


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"RANK": "0"}, "WORLD_SIZE is not set"),
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "MASTER_ADDR is not set"),
        ({"RANK": "first", "WORLD_SIZE": "1"}, "RANK='first' is not valid"),
        ({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "-1"}, "LOCAL_RANK='-1' is not valid"),
        ({"RANK": "2", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "RANK=2 is not valid"),
    ],
)
def test_what_torchrun_did_not_set_is_refused_by_name(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fill_in_environment(environ)


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
