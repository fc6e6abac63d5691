"""CALVIN's long-horizon evaluation: chains of five tasks, each of up to 360 steps, ended by the first that fails.

    python -m ript.simulators.calvin.chains --policy FOLDER --out runs/chains --open-loop 5
    python -m ript.simulators.calvin.chains --policy FOLDER --out runs/some --chains 100 --workers 8

Prints the average length, and how many chains had 1 to 5 tasks in a row. `chains.jsonl` in the folder has a line per
chain; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.checks import whole_number
from ript.device import choose_device
from ript.env_runner.workers import WorkerError
from ript.json_files import read_json, read_lines, write_json
from ript.locks import FolderLock
from ript.progress import progress_bar
from ript.results.success import wilson_interval
from ript.simulators.calvin.chain import CHAINS, LENGTH, evaluation_chains
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
    with FolderLock(options.out):
        _keep_protocol(options, open_loop)
        path = options.out / LOG
        lengths = {line["number"]: line["solved"] for line in read_lines(path)} if path.is_file() else {}
        chains = list(enumerate(evaluation_chains()[: options.chains]))
        todo = [entry for entry in chains if entry[0] not in lengths]
        if todo:
            workers = min(options.workers, len(todo))
            adapter = runner.adapter(policy)
            with closing(runner.simulator.make_vec_env(0, workers, options.image_size)) as pool, path.open("a") as log:
                player = ChainPlayer(pool, policy, adapter, options.max_steps, open_loop, options.seed)  # type: ignore[arg-type]
                bar = progress_bar(player.play(todo), total=len(chains), initial=len(lengths), desc="chains")
                for played in bar:
                    log.write(json.dumps(played._asdict()) + "\n")
                    log.flush()
                    lengths[played.number] = played.solved
                    bar.set_postfix_str(f"average length {sum(lengths.values()) / len(lengths):.2f}")
        return summarize({number: lengths[number] for number, _ in chains})


def summarize(lengths: Mapping[int, int]) -> dict[str, Any]:
    """`chains`, `average_length`, and `in_a_row`: how many chains had at least 1 to 5 tasks."""
    counts = [sum(length >= wanted for length in lengths.values()) for wanted in range(1, LENGTH + 1)]
    return {"chains": len(lengths), "average_length": sum(counts) / len(lengths), "in_a_row": counts}


def _keep_protocol(options: argparse.Namespace, open_loop: int) -> None:
    """Raises ValueError where the folder has results of another protocol."""
    protocol = {
        "policy": str(options.policy.resolve()),
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
