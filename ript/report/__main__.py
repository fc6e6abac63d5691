"""Writes the report of a training run: report.html, report.md and plots/, from what its folder holds.

    python -m ript.report runs/<name>

A run writes the same at each evaluation and checkpoint and at its end; here it is for an earlier or a killed one.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ript.report.run_page import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; bad input ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="FOLDER", help="the run's folder, with its metrics.jsonl")
    try:
        print(write_report(parser.parse_args(arguments).run.expanduser()))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
