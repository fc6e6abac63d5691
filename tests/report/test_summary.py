"""The console's last word on a run."""

from pathlib import Path

import pytest
from run_samples import evaluation, iteration, sft_iteration, write_run

from ript.report.run_folder import read_run
from ript.report.summary import bars, summary

LINES = [evaluation(0, (1, 0)), *map(iteration, range(1, 9)), evaluation(8, (9, 5))]


def test_a_summary_has_success_before_meanwhile_and_after_with_intervals(tmp_path: Path) -> None:
    """The intervals: Wilson's, and Newcombe's method 10 of the difference, computed by hand from them."""
    run = read_run(write_run(tmp_path / "run", LINES))
    lines = summary(run).splitlines()
    assert lines[0] == f"{run.path}:"
    assert [line.split("  ")[1] for line in lines[1:]] == [
        "after 0 iterations",
        "after 8 iterations",
        "training rollouts",
        "gain",
        "cost",
    ]
    assert lines[1].endswith("1/20 = 5.0 % (95 % interval 0.9 to 23.6 %)")
    assert lines[2].endswith("14/20 = 70.0 % (95 % interval 48.1 to 85.5 %)")
    assert lines[3].endswith("12 % ▂▃▄▅▅▆▇█ 100 %")
    assert lines[4].endswith("+65.0 points (95 % interval +36.3 to +81.0)")
    assert lines[5].endswith("8,036 environment steps, 4 min")


def test_a_summary_names_the_policy_and_how_to_evaluate_it(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a run", LINES))
    policy = run.path / "checkpoints" / "step_000008" / "policy"
    *_, where, command = summary(run, policy).splitlines()
    assert where.endswith(str(policy))
    assert "python -m ript.evaluation --suite libero_goal --policy '" in command


def test_a_run_without_rollouts_or_evaluations_has_no_line_about_them(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run", [sft_iteration(1)]))
    assert [line.split()[0] for line in summary(run).splitlines()[1:]] == ["cost"]


@pytest.mark.parametrize("count", [1, 40, 41, 1000])
def test_a_curve_has_a_bar_per_iteration_up_to_forty(count: int) -> None:
    drawn = bars([number / count for number in range(count)])
    assert len(drawn) == (count if count <= 40 else -(-count // -(-count // 40)))
    assert list(drawn) == sorted(drawn)
