"""What a run's folder says about the run besides its metrics: where it ran, its report, and the console's last word."""

import logging
import os
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from ript.distributed import Distributed
from ript.json_files import read_json, write_json
from ript.report.run_folder import METRICS, STARTS, read_run
from ript.report.run_page import write_report
from ript.report.summary import summary
from ript.training.checkpoint import POLICY, complete_checkpoints
from ript.training.memory import GIB

logger = logging.getLogger(__name__)

_PACKAGES = ("ript-pi0", "torch")


def record_start(run_dir: Path, step: int, distributed: Distributed, packages: Sequence[str]) -> None:
    """Adds to the run's `run.json`, `{"starts": […]}`: when, after which iteration, on what, with which versions.

    `packages` are the distributions that the simulator runs on.
    """
    path = run_dir / STARTS
    starts: list[dict[str, Any]] = read_json(path)["starts"] if path.exists() else []
    cuda = distributed.device.type == "cuda"
    starts.append(
        {
            "time": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            "step": step,
            "world_size": distributed.world_size,
            "cpus": len(os.sched_getaffinity(0)),
            "memory_gib": psutil.virtual_memory().total / GIB,
            "gpu": torch.cuda.get_device_name(distributed.device) if cuda else None,
            "versions": {package: version(package) for package in (*_PACKAGES, *packages)},
        }
    )
    write_json(path, {"starts": starts})


class RunReport:
    """Writes the run's report on rank 0; on other ranks it does nothing."""

    def __init__(self, run_dir: Path, enabled: bool):
        self.enabled = enabled
        self._run_dir = run_dir
        self._reported = -1
        """Bytes of metrics that the report on the disk has seen."""

    def write(self) -> None:
        """Writes the report, unless nothing was logged since the last one.

        A report that fails must not end a training: the log has the error, and `python -m ript.report` repeats it.
        """
        if not self.enabled:
            return
        logged = (self._run_dir / METRICS).stat().st_size
        if logged == self._reported:
            return
        try:
            write_report(self._run_dir)
            self._reported = logged
        except OSError as error:
            logger.error("the report of %s could not be written: %s", self._run_dir, error)
        except Exception:
            logger.exception("the report of %s could not be written", self._run_dir)


def log_summary(run_dir: Path) -> None:
    """Logs what the run reached, at what cost, and where things lie; nothing for a run without metrics."""
    try:
        run = read_run(run_dir)
    except (OSError, ValueError) as error:  # of a disk that failed, which must be told first
        logger.error("no summary: %s", error)
        return
    if run.train or run.evaluations:
        checkpoints = complete_checkpoints(run_dir / "checkpoints")
        logger.info("%s", summary(run, checkpoints[-1] / POLICY if checkpoints else None))
