"""Computes normalisation statistics from demonstrations, in openpi's format.

python -m ript.demonstrations.compute_norm_stats --data LIBERO/datasets/libero_spatial --out norm_stats.json
python -m ript.demonstrations.compute_norm_stats --data datasets/libero_lerobot --out norm_stats.json
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ript import checks
from ript.demonstrations.lerobot.reader import LeRobotDataset
from ript.demonstrations.lerobot.statistics import read_statistics
from ript.demonstrations.reader import Demonstration, Demonstrations, find_demonstrations
from ript.demonstrations.source import is_lerobot
from ript.json_files import write_json
from ript.models.pi0.norm_stats import Mode, NormStats
from ript.progress import progress_bar

logger = logging.getLogger(__name__)

MODES: tuple[Mode, Mode] = ("z_score", "quantile")
"""Normalisations that the statistics are for."""

STATISTICS = ("mean", "std", "q01", "q99")

Stats = dict[str, dict[str, dict[str, list[float]]]]


def summarize(samples: np.ndarray) -> dict[str, list[float]]:
    """Mean, standard deviation and the 1 % and 99 % quantiles of each column of (N, D) samples."""
    rows = {
        "mean": samples.mean(0),
        "std": samples.std(0),
        "q01": np.quantile(samples, 0.01, axis=0),
        "q99": np.quantile(samples, 0.99, axis=0),
    }
    return {name: row.tolist() for name, row in rows.items()}


def compute_norm_stats(demonstrations: Iterable[Demonstration], delta_horizon: int | None = None) -> Stats:
    """`{"norm_stats": {"state": {…}, "actions": {…}}}` over all steps of all demonstrations.

    Args:
        demonstrations: at least one.
        delta_horizon: for `delta_actions`, the horizon over which actions are relative; None for absolute ones.
    """
    states, actions = [], []
    for demonstration in demonstrations:
        states.append(demonstration.proprioception)
        if delta_horizon is None:
            actions.append(demonstration.actions)
        else:
            actions.append(label_deltas(demonstration.actions, demonstration.proprioception, delta_horizon))
    return {"norm_stats": {"state": summarize(np.concatenate(states)), "actions": summarize(np.concatenate(actions))}}


def label_deltas(actions: np.ndarray, proprioception: np.ndarray, horizon: int) -> np.ndarray:
    """Actions (M, A) as `delta_actions` sees them: those of every window of H steps, relative to its start state.

    Args:
        actions: (T, A).
        proprioception: (T, S).
        horizon: H; windows start at every step.
    """
    rows = []
    for start in range(len(actions)):
        window = actions[start : start + horizon].copy()
        window[:, :-1] -= proprioception[start, : window.shape[1] - 1]
        rows.append(window)
    return np.concatenate(rows)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.demonstrations.compute_norm_stats",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="HDF5 files, folders of them, or LeRobot datasets",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the JSON file to write")
    parser.add_argument(
        "--delta-horizon",
        type=int,
        default=None,
        metavar="H",
        help="for a policy with delta actions: the length of its action chunks (default: absolute actions)",
    )
    parser.add_argument(
        "--from-metadata",
        action="store_true",
        help="of one LeRobot dataset, take what its meta/stats.json says instead of computing it",
    )
    parser.add_argument(
        "--lerobot-features",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="of LeRobot datasets with other names or conventions, as paths.lerobot_features",
    )
    return parser.parse_args(arguments)


def write_norm_stats(options: argparse.Namespace) -> None:
    """Reads, computes, checks that the policy's reader takes the result, writes it. Raises ValueError or OSError."""
    checks.whole_number("delta_horizon", options.delta_horizon, 1)
    features = _features(options.lerobot_features)
    if options.from_metadata:
        stats, what = _read_stats(options, features), "from its metadata"
    else:
        demonstrations = _read_demonstrations(options.data, features)
        stats = compute_norm_stats(demonstrations, options.delta_horizon)
        what = f"{sum(len(demo) for demo in demonstrations)} steps of {len(demonstrations)} demonstrations"
    for mode in MODES:
        NormStats.from_content(options.out, stats, mode)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.out, stats)
    logger.info("%s: %s", options.out, what)


def _features(pairs: list[str]) -> dict[str, str | bool]:
    found: dict[str, str | bool] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"lerobot_features={pair!r} is not valid: must be KEY=VALUE")
        found[key] = value == "true" if key == "upside_down" and value in ("true", "false") else value
    return found


def _read_demonstrations(paths: list[Path], features: dict[str, str | bool]) -> list[Demonstration]:
    folders = [path for path in paths if is_lerobot(path)]
    sources: list[Path] = [*find_demonstrations([path for path in paths if path not in folders]), *folders]
    found: list[Demonstration] = []
    for path in progress_bar(sources, desc="sources"):
        found += LeRobotDataset(path, features) if path in folders else Demonstrations(path)
    return found


def _read_stats(options: argparse.Namespace, features: dict[str, str | bool]) -> Stats:
    if len(options.data) != 1 or not is_lerobot(options.data[0]) or options.delta_horizon is not None:
        raise ValueError("--from-metadata takes one LeRobot dataset, and no --delta-horizon")
    dataset = LeRobotDataset(options.data[0], features)
    if dataset.converts_gripper:
        raise ValueError("--from-metadata: the dataset's gripper commands are not those of the policy; compute instead")
    names = {"state": dataset.names.state, "actions": dataset.names.action}
    content = read_statistics(options.data[0], names.values(), STATISTICS)
    return {
        "norm_stats": {key: {name: content[feature][name] for name in STATISTICS} for key, feature in names.items()}
    }


def main() -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        write_norm_stats(parse_arguments())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
