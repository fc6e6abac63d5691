"""Exports demonstrations (HDF5) or saved rollouts as a LeRobot v3.0 dataset.

    python -m ript.demonstrations.export_lerobot --data LIBERO/datasets/libero_spatial --out spatial_lerobot
    python -m ript.demonstrations.export_lerobot --data LIBERO/datasets/libero_object --out object_lerobot --videos
    python -m ript.demonstrations.export_lerobot --episodes runs/evaluations/object --successes --out solved_lerobot

Rollouts are those that an evaluation (--save-episodes --observe-every 1) or a run (algo.save_episodes=true
algo.observe_every=1) saved. Images are upright PNGs, of the pixels in the files. The folder appears when it is
complete.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ript import checks
from ript.demonstrations.lerobot.writer import DatasetWriter, LoggedEpisode
from ript.demonstrations.reader import Demonstrations, find_demonstrations
from ript.demonstrations.recording import ROBOT, RobotLayout
from ript.demonstrations.saved_rollouts import logged_rollout
from ript.progress import progress_bar
from ript.storage.episode_files import find_episodes, read_episode

logger = logging.getLogger(__name__)


class _Images(Mapping[int, Mapping[str, np.ndarray]]):
    """A demonstration's images, read as they are asked for."""

    def __init__(self, source: Demonstrations, index: int) -> None:
        self._source, self._index = source, index
        self._steps = source[index].image_steps.tolist()

    def __getitem__(self, step: int) -> Mapping[str, np.ndarray]:
        return self._source.images(self._index, step)

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)


def logged_episodes(source: Demonstrations) -> Iterator[LoggedEpisode]:
    """The demonstrations of a file. Raises ValueError for one without instruction, or of a robot of other widths."""
    if source.robot != RobotLayout():
        raise ValueError(f"{source.path}: data.attrs[{ROBOT}]: only {RobotLayout()} can be exported")
    if source.language is None:
        raise ValueError(f"{source.path}: data.attrs[problem_info] is missing: the task's instruction is not known")
    for index, demonstration in enumerate(source):
        rewards = np.zeros(len(demonstration))
        rewards[-1] = 1
        extra = {
            "task": source.path.stem.removesuffix("_demo"),
            "init_state": None if demonstration.start_state is None else demonstration.start_state.tolist(),
            "scene_seed": demonstration.scene_seed,
        }
        images = _Images(source, index)
        states, actions = demonstration.proprioception, demonstration.actions
        yield LoggedEpisode(source.language, states, actions, images, rewards, True, extra)


def export(options: argparse.Namespace) -> None:
    """Writes the dataset. Raises ValueError or OSError naming the file."""
    checks.whole_number("fps", options.fps, 1)
    if options.episodes is not None:
        export_rollouts(options)
        return
    if options.successes:
        raise ValueError("--successes needs --episodes: demonstrations are successes")
    if options.videos and options.missing_images:
        raise ValueError("--videos and --missing-images exclude each other: a video has every frame")
    sources = [Demonstrations(file) for file in find_demonstrations(options.data)]
    bar = progress_bar(total=sum(len(source) for source in sources), desc=options.out.name, unit="demo")
    with bar, DatasetWriter(options.out, options.fps, options.videos, options.missing_images) as writer:
        for source in sources:
            for index, episode in enumerate(logged_episodes(source)):
                try:
                    writer.add(episode)
                except ValueError as error:
                    hint = (
                        ""
                        if "no image at" not in str(error)
                        else ("; collect with --image-every 1, or export with --missing-images")
                    )
                    raise ValueError(f"{source.path}: {source[index].name}: {error}{hint}") from error
                bar.update()
            source.close()


def export_rollouts(options: argparse.Namespace) -> None:
    """Writes the saved rollouts. Raises ValueError or OSError naming the file."""
    if options.missing_images:
        raise ValueError("--missing-images is for demonstrations: a rollout's state is known where there is an image")
    paths = find_episodes([str(path) for path in options.episodes])
    added = 0
    with DatasetWriter(options.out, options.fps, options.videos) as writer:
        for path in progress_bar(paths, desc=options.out.name, unit="episode"):
            saved = read_episode(path)
            if saved.episode.success or not options.successes:
                writer.add(logged_rollout(saved))
                added += 1
        if not added:
            raise ValueError(f"--successes: none of the {len(paths)} episodes succeeded")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.demonstrations.export_lerobot",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True).add_argument
    what("--data", type=Path, nargs="+", metavar="PATH", help="HDF5 files, or folders that hold them")
    what("--episodes", type=Path, nargs="+", metavar="PATH", help="saved rollouts: of an evaluation, a run, or by name")
    add("--successes", action="store_true", help="of the rollouts, those that succeeded alone")
    add("--out", type=Path, required=True, metavar="FOLDER", help="the dataset's folder, which must not exist")
    add("--fps", type=int, default=20, help="control steps per second of the simulator (default: %(default)s)")
    add("--videos", action="store_true", help="H.264 videos, smaller and lossy, in place of PNG images")
    add(
        "--missing-images",
        action="store_true",
        help="take demonstrations whose images are not at every step; the other frames have none, and LeRobot's loader "
        "cannot batch them (this project's reads them)",
    )
    return parser.parse_args(arguments)


def main() -> None:
    """Runs the command. Exit codes: 2 for bad input, 130 for Ctrl-C, which leaves nothing behind."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = parse_arguments()
    try:
        export(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(130)
    logger.info("%s is complete", options.out)


if __name__ == "__main__":
    main()
