"""Evaluates a policy on suites of a simulator, from the benchmark's own initial states.

    python -m ript.evaluation --suite libero_object --standard --out runs/evaluations/object
    python -m ript.evaluation --suite libero_object --tasks 0 1 2 --episodes 50 --out runs/evaluations/three
    python -m ript.evaluation --suite libero_goal --denoise-steps 1 4 10 --cfg-scale 1 1.5 --out runs/evaluations/grid
    python -m ript.evaluation --suite libero_goal libero_goal_swap libero_goal_lan --out runs/evaluations/general

Several suites are put side by side, each compared with the first: name the one that the policy was trained on first.

Every combination of --denoise-steps and --cfg-scale is played from the same starts. The command can be killed at any
time; the same command goes on where it stopped, and one with more episodes, tasks or values adds to the folder. It
reads no PI0_* environment variables.

--save-episodes keeps what was seen and done, for algo.offline_episodes of a training run, or for
python -m ript.demonstrations.export_lerobot.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ript import checks
from ript.env_runner.failure import EnvironmentFailure
from ript.policy_options import add_policy_options

if TYPE_CHECKING:
    from ript.evaluation.episode_log import EpisodeLog
    from ript.evaluation.evaluate import Evaluation
    from ript.evaluation.protocol import Setting

_GOES_ON = "Every episode that ended is kept; the same command goes on from there."


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.evaluation",
        usage="%(prog)s --suite SUITE [SUITE ...] --out FOLDER [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument_group("what").add_argument
    add("--suite", nargs="+", required=True, metavar="SUITE", help="of any simulator; an unknown one lists all")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    add("--tasks", nargs="+", metavar="TASK", help="names or ids (default: all tasks of the suite)")
    add("--episodes", type=int, metavar="N", help="per task and setting (default: 50)")
    add("--standard", action="store_true", help="refuse what differs from all tasks, 50 episodes, the suite's steps")
    add("--videos", type=int, default=1, metavar="N", help="per task, failures first (default: %(default)s)")
    add("--info-on-video", action="store_true", help="step, reward and success below the frames")
    add("--save-episodes", action="store_true", help="keep every episode with its images, in episodes/ of the folder")
    add("--observe-every", type=int, metavar="STEPS", help="look this often for them; 1 for a LeRobot export")
    add = parser.add_argument_group("policy").add_argument
    add("--policy", type=Path, metavar="FOLDER", help="default: the small π0 that ships with the project")
    add("--norm-stats", metavar="FILE", help="normalisation statistics (default: those in the folder)")
    add("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one in the folder)")
    add("--condition-mode", default="concat", help="concat, bias or token; the policy's own (default: %(default)s)")
    add_policy_options(add)
    add = parser.add_argument_group("settings to compare").add_argument
    add("--denoise-steps", nargs="+", type=int, default=[10], metavar="N", help="one or more (default: 10)")
    add("--cfg-scale", nargs="+", type=float, default=[1.0], metavar="W", help="one or more; 1 is none (default: 1)")
    add = parser.add_argument_group("protocol").add_argument
    add("--max-steps", type=int, metavar="STEPS", help="episode length (default: the suite's)")
    add("--wait-steps", type=int, metavar="STEPS", help="for objects to settle (default: the suite's)")
    add("--open-loop", type=int, metavar="STEPS", help="executed steps per inference (default: the policy's)")
    add("--image-size", type=int, metavar="PIXELS", help="of the cameras (default: what the policy sees)")
    add("--seed", type=int, default=0, help="of scenes and noise (default: %(default)s)")
    add = parser.add_argument_group("machine").add_argument
    cores = len(os.sched_getaffinity(0))
    add("--workers", type=int, default=cores, help="simulator processes (default: one per core, %(default)s)")
    add("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: %(default)s)")
    add("--threads", type=int, default=1, help="of torch; 1 is best for small networks (default: %(default)s)")
    return parser.parse_args(arguments)


def check_options(options: argparse.Namespace) -> None:
    """Before anything slow is loaded. Raises ValueError naming option, value and what is valid."""
    checks.one_of("device", options.device, ("auto", "cpu", "cuda"))
    for name, low in (
        ("episodes", 1),
        ("max_steps", 1),
        ("wait_steps", 0),
        ("open_loop", 1),
        ("image_size", 1),
        ("videos", 0),
        ("observe_every", 1),
        ("workers", 1),
        ("threads", 1),
    ):
        checks.whole_number(name, getattr(options, name), low)
    if options.observe_every is not None and not options.save_episodes:
        raise ValueError("--observe-every needs --save-episodes: nobody else reads what it adds")
    for steps in options.denoise_steps:
        checks.whole_number("denoise_steps", steps, 1)
    for scale in options.cfg_scale:
        checks.in_range("cfg_scale", scale, 0, 1000)
    if options.policy is not None and not options.policy.expanduser().is_dir():
        raise ValueError(f"policy={str(options.policy)!r} is not valid: there is no such folder")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command. Exit codes: 2 for bad input, 1 for a failed simulator or disk, 130 for Ctrl-C."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _evaluate(options)
    except KeyboardInterrupt:
        print(f"interrupted. {_GOES_ON}", file=sys.stderr)
        sys.exit(130)


def _evaluate(options: argparse.Namespace) -> None:
    with ExitStack() as logs:
        opened = _open(options, logs)
        from ript.evaluation.evaluate import play, summarize

        failure: str | None = None
        try:
            for evaluation, log, filmed in opened:
                play(evaluation, log, filmed)
        except EnvironmentFailure as error:
            failure = error.brief
        except OSError as error:
            failure = str(error)
        finally:
            summarize([evaluation for evaluation, _, _ in opened], options.out)
        if failure is not None:
            print(f"error: {failure}\n{_GOES_ON}", file=sys.stderr)
            sys.exit(1)


def _open(options: argparse.Namespace, logs: ExitStack) -> list[tuple["Evaluation", "EpisodeLog", "Setting"]]:
    """Checks everything, then opens the log of each suite, which `logs` closes."""
    try:
        check_options(options)
        # Here, because a simulator process imports what this module imports at its top.
        from ript.evaluation.evaluate import open_log, prepare

        opened = []
        for evaluation in prepare(options):
            log, filmed = open_log(evaluation)
            opened.append((evaluation, logs.enter_context(log), filmed))
        return opened
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
