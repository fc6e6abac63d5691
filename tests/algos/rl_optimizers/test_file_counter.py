import multiprocessing
from pathlib import Path

from ript.algos.rl_optimizers.file_counter import FileGlobalCounter, cleanup_counter, setup_file_counter


def test_a_new_counter_is_at_zero_and_counts(tmp_path: Path) -> None:
    counter = setup_file_counter(tmp_path)
    assert counter.get() == 0
    assert [counter.update(), counter.update(4), counter.get()] == [1, 5, 5]
    counter.reset(7)
    assert counter.get() == 7
    counter.reset()
    assert counter.get() == 0


def test_no_update_of_any_process_is_lost(tmp_path: Path) -> None:
    counter = setup_file_counter(tmp_path)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        seen = pool.map(counter.update, [1] * 200)
    assert sorted(seen) == list(range(1, 201))


def test_two_runs_never_share_a_counter_by_accident(tmp_path: Path) -> None:
    first, second = setup_file_counter(tmp_path), setup_file_counter(tmp_path)
    first.update()
    assert second.get() == 0


def test_the_file_is_removed_at_the_end_and_twice_does_no_harm(tmp_path: Path) -> None:
    counter = FileGlobalCounter(tmp_path / "count")
    cleanup_counter(counter)
    cleanup_counter(counter)
    assert list(tmp_path.iterdir()) == []
