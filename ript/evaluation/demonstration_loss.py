"""How well policies predict demonstrations: their flow loss on windows that they were not trained on.

    python -m ript.demonstrations.collect --suite libero_object --tasks 0 --demos-per-task 20 --seed 100 --out held_out
    python -m ript.evaluation.demonstration_loss --data held_out/libero_object --policy FIRST OTHER …

What training on rollouts makes a policy forget shows as a loss that rises. All policies see the same windows with the
same noise and time, so that the difference from the first is far more certain than either loss.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from torch.utils.data import Dataset

from ript import checks
from ript.algos.losses.demonstrations import demonstration_loss
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.demonstrations.demonstration_windows import DemonstrationWindows
from ript.demonstrations.lerobot.reader import LeRobotDataset
from ript.demonstrations.reader import Demonstrations, find_demonstrations
from ript.demonstrations.source import Source, is_lerobot
from ript.evaluation.evaluated_policy import load_policy
from ript.policy_options import add_policy_options
from ript.progress import progress_bar
from ript.seeds import Word, numpy_generator
from ript.storage.batch import Batch
from ript.storage.windows import Window

BATCH = 32
"""Windows per forward pass; noise is a window's own, so it changes no loss."""


def losses_by_demonstration(
    policy: PI0_OFT_Policy, dataset: Dataset[Window], count: int, seed: int = 0
) -> dict[int, float]:
    """Demonstration's number → its mean flow loss over those of `count` windows, drawn by the seed, that are its own.

    The loss is the positive branch's, over the valid steps and the action's dimensions, on normalised actions.
    """
    length: int = len(dataset)  # type: ignore[arg-type]
    order = numpy_generator(Word.WINDOW_ORDER, seed, 0).permutation(length)[:count]
    found: dict[int, list[float]] = {}
    for first in progress_bar(range(0, len(order), BATCH), desc="windows"):
        windows = [dataset[int(number)] for number in order[first : first + BATCH]]
        positive_alone = Batch(windows, np.ones(len(windows)), np.zeros(len(windows)), np.zeros(len(windows), int))
        with torch.inference_mode():
            losses = demonstration_loss(policy, positive_alone, (seed, 0, 0, 0)).sft
        for window, loss in zip(windows, losses.tolist(), strict=True):
            found.setdefault(window.episode_id, []).append(loss)
    return {number: float(np.mean(of_one)) for number, of_one in sorted(found.items())}


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of independent values (N,) and its 95 % interval by Student's t; NaN bounds of one value."""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else np.nan
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def table(losses: Sequence[tuple[str, np.ndarray]]) -> str:
    """A row per policy; what lies behind the first compares demonstration with demonstration."""
    first = losses[0][1]
    lines = [
        "| policy | demonstrations | flow loss | 95 % interval | from the first | 95 % interval |",
        "|" + " --- |" * 6,
    ]
    for number, (name, values) in enumerate(losses):
        mean, low, high = mean_interval(values)
        row = [name, str(len(values)), f"{mean:.4f}", f"{low:.4f} to {high:.4f}"]
        difference, low, high = mean_interval(values - first)
        row += [f"{difference:+.4f}", f"{low:+.4f} to {high:+.4f}"] if number else ["–", "–"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def sources(data: Sequence[Path]) -> list[Source]:
    """The demonstrations of each task in HDF5 files, folders of them and LeRobot datasets."""
    datasets = [LeRobotDataset(path) for path in data if is_lerobot(path)]
    files = find_demonstrations([path for path in data if not is_lerobot(path)])
    of_datasets = [dataset.of_task(instruction) for dataset in datasets for instruction in dataset.instructions]
    return [*map(Demonstrations, files), *of_datasets]


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.evaluation.demonstration_loss",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, metavar="PATH", help="HDF5 files, folders, LeRobot datasets")
    add("--policy", type=Path, nargs="+", metavar="FOLDER", help="default: the small π0 that ships with the project")
    add("--norm-stats", metavar="FILE", help="normalisation statistics (default: those in each folder)")
    add("--tokenizer", metavar="FILE", help="tokenizer.json (default: the one in each folder)")
    add("--condition-mode", default="concat", help="concat, bias or token (default: %(default)s)")
    add_policy_options(add)
    add("--windows", type=int, default=1024, metavar="N", help="of all demonstrations (default: %(default)s)")
    add("--seed", type=int, default=0, help="of windows, noise and time (default: %(default)s)")
    add("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: %(default)s)")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> str:
    """The table of the command line's policies. Raises ValueError or OSError naming what is not valid."""
    checks.whole_number("windows", options.windows, 1)
    demonstrations = sources(options.data)
    losses = []
    for folder in options.policy or [None]:
        policy = load_policy(argparse.Namespace(**vars(options) | {"policy": folder}))
        dataset = DemonstrationWindows(demonstrations, policy.norm_stats, policy.chunk_size, policy.card.delta_actions)
        found = losses_by_demonstration(policy, dataset, options.windows, options.seed)
        losses.append((str(folder or "small π0"), np.array(list(found.values()))))
    return table(losses)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    options = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        print(measure(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
