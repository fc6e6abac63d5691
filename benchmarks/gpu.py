"""What a GPU makes of π0, in one table for docs/performance.md and in at most eight minutes; nothing is downloaded.

    bash scripts/gpu_check.sh                                    # a CUDA machine
    bash scripts/gpu_check.sh --sizes tiny --device cpu          # tries the kit itself, figures mean nothing

Parts run one after the other, each in a process of its own that has a limit of time, the most valuable first. One that
fails or runs out of time says so in its row, and the others go on; the exit status is then 1. It is 2 without CUDA.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
SECONDS = 470.0
"""For all parts together."""
LEAST_S = 5.0
"""A part is not begun with less."""
DRIVER = Path("/proc/driver/nvidia/version")
SIZES = {"full": ("full", "full_pi05"), "tiny": ("tiny", "tiny_pi05")}
"""Name → the networks of π0 and π0.5, of `benchmarks/model.py`."""

Row = tuple[str, str]
"""What was measured, and what was found."""


@dataclass(frozen=True)
class Part:
    """A program beside this one, which prints its rows as lines of JSON."""

    name: str
    title: str
    command: tuple[str, ...]
    share: float
    """Of the time for all parts, which it may take at most."""


def row(case: str, result: str) -> None:
    """What a part's program prints of each of its rows."""
    print(json.dumps([case, result]), flush=True)


def parts_of(sizes: str, device: str) -> list[Part]:
    """All parts, the most valuable first: those that compile may take whatever time is left."""
    pi0, pi05 = SIZES[sizes]
    on = ("--device", device)

    def act(size: str, *options: str) -> tuple[str, ...]:
        return ("gpu_model.py", "act", "--size", size, *on, *options)

    def update(algorithm: str) -> tuple[str, ...]:
        return ("gpu_model.py", "update", "--algorithm", algorithm, "--size", pi0, *on)

    return [
        Part("pi0", "π0, inference", act(pi0), 0.17),
        Part("pi05", "π0.5, inference", act(pi05), 0.17),
        Part("cfg_flow", "π0, CFG-Flow, expert only", update("cfg_flow"), 0.17),
        Part("ppo", "π0, PPO, expert only", update("ppo"), 0.17),
        Part("tests", "tests", ("gpu_runs.py", "tests"), 0.13),
        Part("iteration", "small π0, one iteration", ("gpu_runs.py", "iteration", "--size", sizes, *on), 0.19),
        Part("pi0_compiled", "π0, inference, compiled", act(pi0, "--compile"), 1),
        Part("pi05_compiled", "π0.5, inference, compiled", act(pi05, "--compile"), 1),
    ]


NAMES = [part.name for part in parts_of("tiny", "cpu")]


def measure(part: Part, limit: float) -> tuple[list[Row], str | None]:
    """The rows that the part printed in `limit` seconds, and in one line why there are not more of them."""
    if limit < LEAST_S:
        return [], "no time was left"
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("stdout", "stderr")]
        with files[0].open("w") as stdout, files[1].open("w") as stderr:
            command = [sys.executable, str(HERE / part.command[0]), *part.command[1:]]
            process = subprocess.Popen(command, stdout=stdout, stderr=stderr, start_new_session=True)
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                end(process)
        said, errors = (file.read_text(errors="replace") for file in files)
    rows = [(case, result) for case, result in read_rows(said)]
    if status is None:
        return rows, f"not done after {limit:.0f} s"
    if status:
        return rows, next((line for line in reversed(errors.splitlines()) if line.strip()), f"exit status {status}")
    return rows, None if rows else "it printed no row"


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and all that it started, such as simulators."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def read_rows(text: str) -> Iterator[Row]:
    """Rows among the whole lines; libraries may print others."""
    for line in text.splitlines(keepends=True):
        if line.startswith("[") and line.endswith("]\n"):
            case, result = json.loads(line)
            yield case, result


def machine(device: str) -> str:
    """One line: card, driver and versions."""
    versions = f"torch {torch.__version__}, Python {sys.version.split()[0]}"
    if device == "cpu":
        return f"CPU, {os.cpu_count()} cores, {versions}. Sizes and times of a CPU say nothing of a GPU."
    card = torch.cuda.get_device_properties(0)
    driver = DRIVER.read_text().splitlines()[0].split(":", 1)[1].split("  ") if DRIVER.exists() else []
    number = next((word for word in driver if word.strip()[:1].isdigit()), "of unknown version").strip()
    return f"{card.name}, {card.total_memory / 2**30:.0f} GiB, driver {number}, CUDA {torch.version.cuda}, {versions}"


def table(parts: list[Part], seconds: float) -> bool:
    """Prints the rows as they come; whether every part was measured in full."""
    print("\n| part | measured | result |\n| --- | --- | --- |", flush=True)
    deadline, complete = time.monotonic() + seconds, True
    for number, part in enumerate(parts, start=1):
        print(f"{number} of {len(parts)}: {part.title} …", file=sys.stderr, flush=True)
        rows, failure = measure(part, min(part.share * seconds, deadline - time.monotonic()))
        if failure is not None:
            complete = False
            rows = [*rows, ("", f"**failed**: {failure.strip()}")]
        for case, result in rows:
            print(f"| {part.title} | {case} | {result.replace('|', chr(92) + '|')} |", flush=True)
    return complete


def main() -> int:
    """Prints the table; the exit status."""
    parser = argparse.ArgumentParser(
        prog="gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", choices=SIZES, default="full", help="of the networks (default: %(default)s)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--parts", choices=NAMES, nargs="+", default=NAMES, metavar="PART", help=f"some of {', '.join(NAMES)}"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together (default: %(default)s)")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print(f"error: torch {torch.__version__} finds no CUDA device; see python -m ript.doctor", file=sys.stderr)
        return 2
    if options.device == "cpu" and options.sizes == "full":
        parser.error("--device cpu needs --sizes tiny: the full networks take hours on a CPU")
    print(machine(options.device))
    parts = [part for part in parts_of(options.sizes, options.device) if part.name in options.parts]
    return 0 if table(parts, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
