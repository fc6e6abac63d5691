"""Where metrics go: a JSONL file always, `logging.backends` when asked for, one line on the console."""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ript.json_files import read_lines
from ript.training.metric_backends import MetricBackends

logger = logging.getLogger(__name__)

CONSOLE = (
    *("raw_success_rate", "mean_scores", "non_zero_adv_ratio", "num_windows", "fm_loss", "fm_loss_pos"),
    *("actor/total_loss", "actor/approx_kl", "actor/clip_fraction", "critic/explained_variance"),
    *("actor/reflow_mask_ratio", "train/sft_loss"),
)


class RunLogger:
    """Writes metrics of rank 0; on other ranks it does nothing.

    `metrics.jsonl` gets one JSON object a line, `{"step": …, "phase": "train" | "eval", metric: value}`, flushed at
    once and before all else, so that a killed run keeps its curve, and a backend that fails costs none of it. A resumed
    run adds to what `set_aside_later` left. Each line has `time/elapsed_s`, the wall time in seconds that the run has
    taken up to there, added up over resumptions; what was done again counts once.
    """

    def __init__(self, run_dir: Path, cfg: DictConfig, enabled: bool):
        self.enabled = enabled
        if not enabled:
            return
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        self._log_interval = cfg.training.log_interval
        self._began = time.perf_counter() - _elapsed_s(run_dir / "metrics.jsonl")
        self._jsonl = (run_dir / "metrics.jsonl").open("a", buffering=1)
        self._backends = MetricBackends(run_dir, cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True)))

    def log(self, step: int, phase: str, metrics: Mapping[str, float]) -> None:
        """Records the metrics of iteration `step` (counted from 1)."""
        if not self.enabled:
            return
        metrics = {**metrics, "time/elapsed_s": time.perf_counter() - self._began}
        try:
            self._jsonl.write(json.dumps({"step": step, "phase": phase, **metrics}) + "\n")
        except OSError as error:
            raise OSError(f"{self._jsonl.name} could not be written: {error}") from error
        self._backends.log(step, {f"{phase}/{name}": value for name, value in metrics.items()})
        if phase == "train" and step % self._log_interval == 0:
            shown = ", ".join(f"{name} {metrics[name]:.4g}" for name in CONSOLE if name in metrics)
            logger.info("step %d: %s", step, shown)

    def close(self) -> None:
        """Ends the writers."""
        if not self.enabled:
            return
        with suppress(OSError):  # what could not be written was told when it was tried
            self._jsonl.close()
        self._backends.close()


def _elapsed_s(path: Path) -> float:
    """What the last line of the metrics says; 0 for a run that has none."""
    lines = read_lines(path) if path.exists() else []
    return lines[-1].get("time/elapsed_s", 0.0) if lines else 0.0
