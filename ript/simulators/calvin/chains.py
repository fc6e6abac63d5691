"""CALVIN's long-horizon evaluation: chains of five tasks, each of up to 360 steps, ended by the first that fails.

    python -m ript.simulators.calvin.chains --policy FOLDER --out runs/chains --open-loop 5
    python -m ript.simulators.calvin.chains --policy FOLDER --out runs/some --chains 100 --workers 8

Prints the average length, and how many chains had 1 to 5 tasks in a row. `chains.jsonl` in the folder has a line per
chain; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from ript.algos.policies.checksums import weights_checksums
from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import whole_number
from ript.device import choose_device
from ript.env_runner.workers import WorkerError
from ript.json_files import JsonLog, read_json, write_json
from ript.locks import FolderLock
from ript.progress import progress_bar
from ript.results.success import wilson_interval
from ript.simulators.calvin.chain import CHAINS, LENGTH, Chain, evaluation_chains
from ript.simulators.calvin.chain_player import ChainPlayer
from ript.simulators.calvin.env import STATIC_SIZE
from ript.simulators.calvin.tasks import SUITE
from ript.simulators.suite_runner import SuiteRunner

logger = logging.getLogger(__name__)

LOG, PROTOCOL = "chains.jsonl", "chains_protocol.json"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.simulators.calvin.chains",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, cores = parser.add_argument, len(os.sched_getaffinity(0))
    add("--policy", type=Path, required=True, metavar="FOLDER", help="the policy's folder")
    add("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    add("--chains", type=int, default=CHAINS, metavar="N", help="the first N of CALVIN's 1,000 (default: all)")
    add("--max-steps", type=int, default=360, metavar="STEPS", help="per task (default: %(default)s)")
    add("--open-loop", type=int, metavar="STEPS", help="executed steps per inference (default: the policy's)")
    add("--image-size", type=int, default=STATIC_SIZE, metavar="PIXELS", help="static camera's (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the policy's noise (default: %(default)s)")
    add("--workers", type=int, default=cores, help="simulator processes (default: one per core, %(default)s)")
    add("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one (default: %(default)s)")
    return parser.parse_args(arguments)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Plays the chains that the folder lacks. Raises ValueError, OSError or WorkerError."""
    for name in ("chains", "max_steps", "open_loop", "image_size", "workers"):
        whole_number(name, getattr(options, name), 1)
    if options.chains > CHAINS:
        raise ValueError(f"chains={options.chains} is not valid: CALVIN has {CHAINS}")
    runner = SuiteRunner(SUITE, open_loop=options.open_loop)
    torch.set_num_threads(1)
    policy = PI0_OFT_Policy(device_id=choose_device(options.device).index, pretrained_path=str(options.policy))
    policy.model.requires_grad_(False)
    runner.check_policy(policy)
    open_loop = options.open_loop or policy.open_loop

    @contextmanager
    def players(count: int) -> Iterator[ChainPlayer]:
        with closing(runner.simulator.make_vec_env(0, min(options.workers, count), options.image_size)) as pool:
            adapter = runner.adapter(policy)
            yield ChainPlayer(pool, policy, adapter, options.max_steps, open_loop, options.seed)  # type: ignore[arg-type]

    with FolderLock(options.out):
        keep_protocol(options, policy, open_loop)
        with closing(JsonLog(options.out / LOG)) as log:
            return summarize(play_missing(evaluation_chains()[: options.chains], log, players))


def play_missing(
    chains: Sequence[Chain], log: JsonLog, players: Callable[[int], AbstractContextManager[ChainPlayer]]
) -> dict[int, int]:
    """Plays the chains that the log lacks. Returns how many tasks in a row each of them has, by its number.

    Args:
        players: given how many chains are missing; what plays them. Not called when none is.
    """
    lengths = {line["number"]: line["solved"] for line in log.objects if line["number"] < len(chains)}
    missing = [entry for entry in enumerate(chains) if entry[0] not in lengths]
    if missing:
        with players(len(missing)) as player:
            bar = progress_bar(player.play(missing), total=len(chains), initial=len(lengths), desc="chains")
            for played in bar:
                log.append(played._asdict())
                lengths[played.number] = played.solved
                bar.set_postfix_str(f"average length {sum(lengths.values()) / len(lengths):.2f}")
    return lengths


def summarize(lengths: Mapping[int, int]) -> dict[str, Any]:
    """`chains`, `average_length`, and `in_a_row`: how many chains had at least 1 to 5 tasks."""
    counts = [sum(length >= wanted for length in lengths.values()) for wanted in range(1, LENGTH + 1)]
    return {"chains": len(lengths), "average_length": sum(counts) / len(lengths), "in_a_row": counts}


def keep_protocol(options: argparse.Namespace, policy: PI0_OFT_Policy, open_loop: int) -> None:
    """Raises ValueError where the folder has results of another protocol."""
    protocol = {
        "policy": str(options.policy.resolve()),
        "sha256": weights_checksums(policy),
        "max_steps": options.max_steps,
        "open_loop": open_loop,
        "image_size": options.image_size,
        "seed": options.seed,
    }
    path = options.out / PROTOCOL
    if path.is_file() and (kept := read_json(path)) != protocol:
        differing = [key for key in protocol if kept.get(key) != protocol[key]]
        raise ValueError(f"out={str(options.out)!r} is not valid: it has results of another {', '.join(differing)}")
    write_json(path, protocol)


def main() -> None:
    """Runs the command. Exit codes: 2 for bad input, 1 for a failed simulator, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = evaluate(parse_arguments())
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except WorkerError as error:
        print(f"error: {error.brief}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted. What was played is kept; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
    print(f"average length {found['average_length']:.3f} of {found['chains']} chains")
    for wanted, count in enumerate(found["in_a_row"], start=1):
        low, high = (100 * bound for bound in wilson_interval(count, found["chains"]))
        print(f"{wanted} in a row: {count}/{found['chains']} (95 % interval {low:.1f} to {high:.1f} %)")


if __name__ == "__main__":
    main()
