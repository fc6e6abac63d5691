"""Draws the training success of runs into one figure: over environment steps, or with --time over minutes.

python scripts/results/learning_curves.py curves.png runs/one_task/seed0 runs/one_task/seed1
"""

import argparse
from pathlib import Path

import numpy as np

from ript.report.run_folder import RunFolder, read_run
from ript.results.curves import Curve, curves_plot, moving_average
from ript.results.figures import write_png

WINDOW = 3
"""Iterations that a point is the mean of: their layouts differ in how hard they are."""


def success(run: RunFolder, over_time: bool) -> Curve:
    """Success of the training rollouts in percent, each point with its neighbours' mean."""
    lines = [line for line in run.train if "raw_success_rate" in line]
    x = [line["time/elapsed_s"] / 60 if over_time else run.env_steps_at(line["step"]) for line in lines]
    y = np.array([100 * line["raw_success_rate"] for line in lines])
    return Curve(np.array(x, float), moving_average(y, WINDOW))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("png", type=Path, help="the figure to write")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of training runs")
    parser.add_argument("--time", action="store_true", help="over minutes of wall time")
    options = parser.parse_args()
    curves = {path.name.replace("_", " "): success(read_run(path), options.time) for path in options.runs}
    xlabel = "minutes" if options.time else "environment steps"
    write_png(curves_plot(curves, xlabel, "success in %"), options.png)


if __name__ == "__main__":
    main()
