"""`torchrun tests/planar_job.py RUN_DIR POLICY_FOLDER OVERRIDE...`: a run on the plane in processes of its own."""

import sys
from pathlib import Path

from planar_run import planar_config

from ript.training.loop import run

if __name__ == "__main__":
    run(planar_config(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
