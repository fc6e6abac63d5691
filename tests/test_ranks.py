"""The processes that tests of several ranks share."""

import os
import time
from collections.abc import Callable
from typing import Any

import pytest
import ranks
import torch
from ranks import run_ranks

from ript.distributed import Distributed


def process_and_sum(distributed: Distributed) -> tuple[int, float]:
    return os.getpid(), distributed.sum({"x": 1.0})["x"]


def leave_traces(distributed: Distributed) -> None:
    os.environ["LEFT_BEHIND"] = "1"
    torch.set_num_threads(2)
    torch.rand(3)


def find_traces(distributed: Distributed) -> tuple[bool, int, float]:
    return "LEFT_BEHIND" in os.environ, torch.get_num_threads(), torch.rand(1).item()


class Does:
    """Unpickling it is a call: what goes wrong there goes wrong before the slow imports."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def one_sleeps(distributed: Distributed) -> None:
    if distributed.rank == 1:
        time.sleep(600)


def variable(distributed: Distributed, name: str) -> str | None:
    return os.environ.get(name)


def test_jobs_share_processes_and_each_has_its_own_group() -> None:
    first, second = run_ranks(process_and_sum, 2), run_ranks(process_and_sum, 2)
    assert first == second and first[0][0] != first[1][0]
    assert [total for _, total in first] == [2.0, 2.0]


def test_a_job_finds_nothing_of_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_ranks(find_traces, 2)
    run_ranks(leave_traces, 2)
    assert run_ranks(find_traces, 2) == before and before[0][:2] == (False, 1)
    monkeypatch.setenv("SET_BY_A_TEST", "yes")
    assert run_ranks(variable, 2, "SET_BY_A_TEST") == ["yes", "yes"]


def test_more_ranks_join_those_that_run() -> None:
    pids = [pid for pid, _ in run_ranks(process_and_sum, 2)]
    three = run_ranks(process_and_sum, 3)
    assert [pid for pid, _ in three][:2] == pids and three[2][1] == 3.0


def test_a_job_that_hangs_dies_or_fails_says_where_and_the_next_one_runs() -> None:
    run_ranks(process_and_sum, 2)  # so that imports are no part of the time limit
    processes = [rank.process for rank in ranks._ranks]
    with pytest.raises(AssertionError, match=r"(?s)did not finish within 1 s\n.*rank 1:.*in one_sleeps"):
        run_ranks(one_sleeps, 2, timeout_s=1)
    assert not any(process.is_alive() for process in processes)
    with pytest.raises(AssertionError, match=r"rank [01] died with exit code 7"):
        run_ranks(process_and_sum, 2, Does(os._exit, 7))
    with pytest.raises(AssertionError, match=r"(?s)rank [01] failed:.*Traceback.*ValueError.*'no number'"):
        run_ranks(process_and_sum, 2, Does(int, "no number"))
    assert run_ranks(process_and_sum, 2)[1][1] == 2.0
