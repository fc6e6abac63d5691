"""Collects demonstrations of a suite's tasks from its scripted expert, in LIBERO's HDF5 format.

    python -m ript.demonstrations.collect --suite libero_spatial
    python -m ript.demonstrations.collect --suite libero_object --tasks 0 4 --demos-per-task 10 --image-every 1

Layouts are drawn from each task's own placement regions, with seeds that neither evaluation nor training uses. Only
successes are kept. The command can be killed at any time; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ript import checks
from ript.demonstrations.collection_report import write_report
from ript.demonstrations.collection_schedule import Schedule, TaskProgress
from ript.demonstrations.demonstration_files import TaskFile
from ript.demonstrations.task_demonstrator import Demonstrated, DemonstratorSettings, TaskDemonstrator
from ript.demonstrations.worker_jobs import WorkerJobs
from ript.env_runner.vec_env import select_tasks
from ript.env_runner.workers import WorkerError
from ript.locks import FolderLock
from ript.progress import progress_bar
from ript.simulators.registry import make_simulator

logger = logging.getLogger(__name__)

_GOES_ON = "What was collected is kept; the same command goes on from there."


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.demonstrations.collect",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--suite", required=True, help="of tasks, of a simulator that has an expert; an unknown one lists all")
    add("--tasks", nargs="+", default=None, metavar="TASK", help="names or ids (default: all tasks of the suite)")
    add("--demos-per-task", type=int, default=50, metavar="N", help="successes to collect (default: %(default)s)")
    add("--out", type=Path, metavar="FOLDER", help="default: the folder of the simulator's demonstrations")
    add("--seed", type=int, default=0, help="another seed draws other layouts and noise (default: %(default)s)")
    cores = len(os.sched_getaffinity(0))
    add("--workers", type=int, default=cores, help="processes, about 2 GB each (default: one per core, %(default)s)")
    add("--image-size", type=int, default=128, metavar="PIXELS", help="default: %(default)s, as the official files")
    add(
        "--image-every",
        type=int,
        default=5,
        metavar="STEPS",
        help="render the cameras at every so many steps: 1 as in the official files, 0 for no images; rendering is "
        "what takes time (default: %(default)s)",
    )
    add(
        "--fast-render",
        action="store_true",
        help="cheaper pictures, up to three times as fast: pixels differ by up to 3 of 255 on average",
    )
    return parser.parse_args(arguments)


def collect(options: argparse.Namespace) -> Path:
    """Collects what the options say and returns the folder of the files. Raises ValueError, OSError or WorkerError."""
    settings = _checked_settings(options)
    simulator = make_simulator(options.suite)
    if not isinstance(simulator, Demonstrated):
        raise ValueError(f"suite={options.suite!r} is not valid: its simulator has no expert to demonstrate tasks")
    benchmark = simulator.benchmark
    task_ids = select_tasks(benchmark, options.tasks)
    folder = (options.out or simulator.demonstrations) / options.suite
    with FolderLock(folder):
        tasks = []
        for task_id in task_ids:
            name = benchmark.get_task_names()[task_id]
            file = TaskFile(folder / f"{name}_demo.hdf5", simulator.file_attributes(task_id), settings.as_dict())
            tasks.append(TaskProgress(task_id, file, options.demos_per_task))
        run_schedule(Schedule(tasks), simulator.make_demonstrator(settings), options.workers, options.suite)
        write_report(folder, settings.as_dict())
    return folder


def run_schedule(
    schedule: Schedule, make_demonstrator: Callable[[], TaskDemonstrator], workers: int, suite: str
) -> None:
    """Has worker processes, each with a demonstrator, try tasks until the schedule has enough of each."""
    schedule.merge_finished()
    if schedule.is_finished:
        return
    bar = progress_bar(total=schedule.wanted, initial=schedule.successes, desc=suite, unit="demo")
    with bar, WorkerJobs(make_demonstrator, "demonstrate", min(workers, schedule.missing)) as jobs:
        while True:
            while jobs.idle and (job := schedule.next_job()):
                jobs.start((job.task_id, job.number, job.part), job)
            if not jobs.running:
                return
            job, attempt = jobs.wait()
            schedule.finish(job, attempt)
            bar.update(int(attempt.success))
            bar.set_postfix_str(schedule.describe())


def _checked_settings(options: argparse.Namespace) -> DemonstratorSettings:
    for name, low in (("demos_per_task", 1), ("workers", 1), ("seed", 0), ("image_size", 1), ("image_every", 0)):
        checks.whole_number(name, getattr(options, name), low)
    return DemonstratorSettings(
        options.suite, options.seed, options.image_size, options.image_every, options.fast_render
    )


def main() -> None:
    """Runs the command. Exit codes: 2 for bad input, 1 for a failed simulator or a full disk, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_arguments()
    try:
        folder = collect(options)
    except (ValueError, OSError) as error:
        _end(2, f"error: {error}")
    except WorkerError as error:
        cause = error.__cause__
        _end(1, f"error: {cause if isinstance(cause, OSError) else error.brief}", _GOES_ON)
    except KeyboardInterrupt:
        _end(130, f"interrupted. {_GOES_ON}")
    logger.info("demonstrations and collection.md are in %s", folder)


def _end(exit_code: int, *lines: str) -> NoReturn:
    print(*lines, sep="\n", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
