"""Says what is installed, what works and how fast, and what keeps a run from starting.

    python -m ript.doctor                                the machine, and the small π0
    python -m ript.doctor /models/pi0_libero             the machine, and this policy folder
    python -m ript.doctor --no-simulators --json         for scripts, in a few seconds

Each problem and each note comes with what to do about it. Exit status: 0 if a run can start, 1 if something prevents
it, 2 for a misspelt option. Nothing is installed, changed or written.
"""

import argparse
import importlib
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ript.doctor.finding import Finding, problem
from ript.doctor.options import Options
from ript.policy_options import add_policy_options, chosen

PARTS = {
    "packages": "Packages",
    "variables": "Environment variables",
    "machine": "Machine",
    "simulation": "Simulators",
    "policy": "Policy",
}
"""Module of this folder → its heading. Each has `check(options)`, and is imported only then: it may not load."""
_SET_UP = "bash scripts/setup.sh"


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m ript.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("policy", nargs="?", type=Path, metavar="POLICY_FOLDER", help="default: the small π0 that ships with it")
    add("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where runs go (default: %(default)s)")
    add("--no-simulators", action="store_true", help="start none: seconds instead of half a minute")
    add("--json", action="store_true", help="print one JSON object instead of lines")
    add("--norm-stats", type=Path, metavar="FILE", help="statistics (default: those in the policy folder)")
    add("--tokenizer", type=Path, metavar="FILE", help="default: the one in the policy folder")
    add_policy_options(parser.add_argument_group("how the policy is used").add_argument)
    return parser.parse_args(arguments)


def examine(part: str, options: Options) -> Iterator[Finding]:
    """The findings of a part; a package that it needs and that does not load is one of them."""
    try:
        yield from importlib.import_module(f"ript.doctor.{part}").check(options)
    except ImportError as error:
        yield problem(PARTS[part], f"cannot be looked at: {error}", _SET_UP)


def lines(finding: Finding) -> str:
    """For a person."""
    text = f"  {finding.level:<8} {finding.subject}: {finding.text}"
    return f"{text}\n{'':11}→ {finding.remedy}" if finding.remedy else text


def main(arguments: Sequence[str] | None = None) -> None:
    """Looks at everything, prints as it goes, and exits."""
    given = parse_arguments(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    options = Options(
        given.policy, given.runs, not given.no_simulators, given.norm_stats, given.tokenizer, chosen(given)
    )
    found: list[dict[str, object]] = []
    levels: Counter[str] = Counter()
    for part, heading in PARTS.items():
        if not given.json:
            print(heading, flush=True)
        for finding in examine(part, options):
            levels[finding.level] += 1
            found.append({"part": part, **asdict(finding)})
            if not given.json:
                print(lines(finding), flush=True)
    if given.json:
        print(json.dumps({"problems": levels["problem"], "notes": levels["note"], "findings": found}, indent=2))
    else:
        print(f"{levels['problem']} problems, {levels['note']} notes")
    sys.exit(1 if levels["problem"] else 0)


if __name__ == "__main__":
    main()
