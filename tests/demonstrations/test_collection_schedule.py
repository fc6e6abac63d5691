"""The schedule with a made-up outcome for every try."""

import pytest

from ript.demonstrations.collection_schedule import Schedule, TaskProgress
from ript.demonstrations.demonstration_files import Try


class FakeFile:
    def __init__(self, path):
        self.path = path
        self.tries = {}
        self.merged = 0

    def part(self, number):
        return self.path / str(number)

    def prepare(self):
        pass

    def add(self, attempt):
        self.tries[attempt.number] = attempt

    def merge(self):
        self.merged += 1


def succeeds(number):
    return number % 3 != 0


def run(tmp_path, wanted, workers, outcome=succeeds, tasks=2):
    """Runs a schedule with jobs that end in the reverse of the order in which they began."""
    files = [FakeFile(tmp_path / f"task{task}_demo.hdf5") for task in range(tasks)]
    schedule = Schedule([TaskProgress(task, file, wanted) for task, file in enumerate(files)])
    running = []
    while True:
        while len(running) < workers and (job := schedule.next_job()):
            running.append(job)
        if not running:
            return schedule, files
        job = running.pop()
        schedule.finish(job, Try(job.number, 0, 0.0, outcome(job.number), 1, 1.0))


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_any_number_of_workers_makes_the_same_tries(tmp_path, workers):
    schedule, files = run(tmp_path, 5, workers)
    assert schedule.is_finished and schedule.successes == schedule.wanted == 10
    for file in files:
        assert sorted(file.tries) == list(range(8))  # tries 1, 2, 4, 5 and 7 succeed
        assert file.merged == 1


def test_a_hopeless_task_is_given_up_with_a_warning(tmp_path, caplog):
    schedule, files = run(tmp_path, 50, 2, outcome=lambda number: False, tasks=1)
    assert schedule.is_finished and len(files[0].tries) in (20, 21)
    assert "gave up task0: 0 successes in 2" in caplog.text


def test_a_hard_task_is_not_given_up(tmp_path):
    schedule, _ = run(tmp_path, 10, 1, outcome=lambda number: number % 4 == 3, tasks=1)
    assert schedule.successes == 10
