"""Prints the last step of a run that saw at most so many environment steps, all ranks together.

python scripts/results/step_at.py runs/algorithms/ppo 40000
"""

import argparse
import sys
from pathlib import Path

from ript.report.run_folder import read_run


def main() -> None:
    """Runs the command; exits with 1 if the first iteration already saw more."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("env_steps", type=float, help="the budget")
    options = parser.parse_args()
    run = read_run(options.run)
    within = run.steps[run.env_steps <= options.env_steps]
    if not len(within):
        sys.exit(f"{options.run}: no iteration within {options.env_steps:g} environment steps")
    print(within[-1])


if __name__ == "__main__":
    main()
