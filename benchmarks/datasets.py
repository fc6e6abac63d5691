"""SFT from a LeRobot dataset larger than the memory it may use: how fast windows are read and trained.

    python benchmarks/datasets.py                # 1 GiB of PNG images of 128 pixels, written to a temporary folder
    python benchmarks/datasets.py --videos       # the same frames as H.264 videos
    python benchmarks/datasets.py --videos --workers 1  # also: steps with their reading, and read ahead by a process
    python benchmarks/datasets.py --group episode  # row groups as the lerobot package writes them: one per episode

While windows are read, the process may not have more than `--limit` MiB of data beyond what it had before (the kernel
refuses more: RLIMIT_DATA). One thread; batches of 32 windows, in random order over the whole dataset.
"""

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch
from torch.optim import AdamW

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.rl_optimizers.sft_optimizer_pi0 import SFTOptimizerPI0
from ript.demonstrations.lerobot.writer import DatasetWriter, LoggedEpisode
from ript.demonstrations.recording import CAMERAS
from ript.demonstrations.window_loader import WindowLoader, window_loader
from ript.distributed import Distributed
from ript.training.learner import Learner

LENGTH, BATCH = 100, 32
TASK, INSTRUCTION = "lift_it", "lift it"


class Noise(Mapping[int, Mapping[str, np.ndarray]]):
    """Images that no codec makes smaller: a floor of what is read per second."""

    def __init__(self, side: int, seed: int) -> None:
        self._side, self._rng = side, np.random.default_rng(seed)

    def __getitem__(self, step: int) -> Mapping[str, np.ndarray]:
        return {camera: self._rng.integers(0, 256, (self._side, self._side, 3), dtype=np.uint8) for camera in CAMERAS}

    def __iter__(self) -> Iterator[int]:
        return iter(range(LENGTH))

    def __len__(self) -> int:
        return LENGTH


def write_dataset(root: Path, options: argparse.Namespace) -> int:
    """Writes the dataset and returns its size in bytes."""
    rng = np.random.default_rng(0)
    frames = int(options.gib * 2**30 / (len(CAMERAS) * 3 * options.side**2))
    with DatasetWriter(root, 20, options.videos) as writer:
        for number in range(max(1, frames // LENGTH)):
            actions = rng.uniform(-1, 1, (LENGTH, 7))
            states, rewards = rng.normal(size=(LENGTH, 8)), np.zeros(LENGTH)
            writer.add(LoggedEpisode(INSTRUCTION, states, actions, Noise(options.side, number), rewards, True))
    if options.group == "episode":
        for path in (root / "data").rglob("*.parquet"):
            pq.write_table(pq.read_table(path), path, row_group_size=LENGTH, use_dictionary=False)
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


def own_memory() -> int:
    """Bytes of this process that no file backs."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared


def windows_per_second(step: Callable[[], object], repeats: int) -> float:
    """The median over `repeats` batches."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


def make_loader(root: Path, policy: PI0_OFT_Policy, workers: int) -> WindowLoader:
    """As a run makes it."""
    benchmark = SimpleNamespace(get_task_id=lambda name: 0, get_language=lambda task: INSTRUCTION)
    runner = SimpleNamespace(benchmark=benchmark, task_names=[TASK])
    return window_loader(runner, policy, Distributed(), BATCH, 0, str(root), num_workers=workers)


def read_and_train(root: Path, options: argparse.Namespace) -> None:
    """Prints both speeds and the memory."""
    policy = PI0_OFT_Policy(random_weights=True)
    loader = make_loader(root, policy, 0)
    stream = iter(loader)
    next(stream)
    before, limits = own_memory(), resource.getrlimit(resource.RLIMIT_DATA)
    data = psutil.Process().memory_info().data
    resource.setrlimit(resource.RLIMIT_DATA, (data + (options.limit << 20), limits[1]))
    read = windows_per_second(lambda: next(stream), options.batches)
    grown = (own_memory() - before) / 2**20
    resource.setrlimit(resource.RLIMIT_DATA, limits)
    print(f"read    {read:7.1f} windows/s, {loader.drawn} of {loader.count}; memory grew by {grown:.0f} MiB")
    batches = list(islice(stream, 3))
    learner = Learner(policy, {group: AdamW(parameters) for group, parameters in policy.trainable_params.items()})
    optimizer = SFTOptimizerPI0()
    learn = windows_per_second(lambda: optimizer.optimize(policy, batches[0], learner), 5)
    print(f"trained {learn:7.1f} windows/s (the small π0, no augmentation): read / trained = {read / learn:.1f}")


def read_ahead(root: Path, options: argparse.Namespace) -> None:
    """Prints how fast whole steps are, with their reading, in turns: read in this process, read ahead, …"""
    policy, rates = PI0_OFT_Policy(random_weights=True), {0: [], options.workers: []}
    learner = Learner(policy, {group: AdamW(parameters) for group, parameters in policy.trainable_params.items()})
    optimizer = SFTOptimizerPI0()
    streams = {workers: iter(make_loader(root, policy, workers)) for workers in rates}
    next(streams[options.workers])
    for _ in range(options.turns):
        for workers, stream in streams.items():
            rates[workers].append(
                windows_per_second(lambda own=stream: optimizer.optimize(policy, next(own), learner), 4)
            )
    here, ahead = (statistics.median(found) for found in rates.values())
    print(f"steps with reading {here:7.1f} windows/s; read ahead by {options.workers} {ahead:7.1f}: {ahead / here:.2f}")


def main() -> None:
    """Writes, reads, trains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0, help="of pixels (default: %(default)s)")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--videos", action="store_true")
    parser.add_argument("--group", choices=("ours", "episode"), default="ours")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "dataset"
        size = write_dataset(root, options)
        print(f"{size / 2**30:.2f} GiB on the disk, limit {options.limit / 1024:.2f} GiB of new data")
        read_and_train(root, options)
        if options.workers:
            read_ahead(root, options)


if __name__ == "__main__":
    main()
