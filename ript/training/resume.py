"""Going on with a run: what may have changed in its configuration, and what of its folder is set aside."""

import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ript.json_files import read_lines, write_whole
from ript.report.run_folder import DIAGNOSES, METRICS
from ript.results.videos import VIDEOS, step_folder
from ript.storage.episode_files import EPISODE_FOLDER
from ript.training.checkpoint import complete_checkpoints

logger = logging.getLogger(__name__)

FIXED = (
    "seed",
    "task.benchmark_name",
    "algo.rl_optimizer._target_",
    "algo.pretrained_path",
    "algo.random_weights",
    "algo.norm_stats_path",
    "algo.tokenizer_path",
    "algo.condition_mode",
    "algo.delta_actions",
    "algo.discrete_state_input",
    "algo.cameras",
    "algo.normalization",
    "algo.freeze_vision_encoder",
    "algo.train_expert_only",
    "algo.freeze_policy",
    "algo.latent_repeat",
    "algo.dsrl_hidden_dims",
    "algo.lora",
    "algo.context_source",
    "algo.contexts_per_task",
)
"""What a resumed run cannot change: its policy and its random numbers come from the checkpoint."""
SILENT = ("training.resume", "training.resume_path", "training.cut", "logging.", "paths.", "num_threads", "device")
"""What says nothing about what is learned."""


def check_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Compares two resolved configurations: logs each change, and raises ValueError for one that cannot be made."""
    was, wanted = _flat(before), _flat(now)
    changed = [key for key in {**was, **wanted} if was.get(key) != wanted.get(key)]
    moved = {"algo.pretrained_path"} if wanted.get("algo.lora.r") else set()  # an adapter's base may have moved
    refused = [key for key in changed if key.startswith(FIXED) and key not in moved]
    if refused:
        listed = ", ".join(f"{key}={wanted.get(key)} (it was {was.get(key)})" for key in refused)
        raise ValueError(f"a resumed run cannot change {listed}; start a new one, with paths.run_name")
    for key in changed:
        if not key.startswith(SILENT):
            logger.info("resumed with %s=%s; it was %s", key, wanted.get(key), was.get(key))


def set_aside_later(run_dir: Path, step: int) -> None:
    """Moves what the run did after iteration `step` to `abandoned_<time>/`.

    That is checkpoints, metrics, diagnoses, videos and saved episodes.
    """
    aside = run_dir / f"abandoned_{time.strftime('%Y%m%d_%H%M%S')}"
    later = [path for path in complete_checkpoints(run_dir / "checkpoints") if _number(path) > step]
    later += [path for path in (run_dir / VIDEOS).glob("step_*") if path.name > step_folder(step)]
    first_later = step_folder(step + 1)
    later += [path for path in (run_dir / EPISODE_FOLDER).glob("*/step_*") if path.name >= first_later]
    for path in later:
        target = aside / path.relative_to(run_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, target)
    cut = [_set_lines_aside(run_dir / name, aside / name, step) for name in (METRICS, DIAGNOSES)]
    if later or any(cut):
        logger.info("what the run did after iteration %d is kept in %s", step, aside)


def _set_lines_aside(path: Path, aside: Path, step: int) -> bool:
    """Splits a JSONL file after iteration `step`; a last line that was cut off is dropped."""
    if not path.exists():
        return False
    lines = read_lines(path)
    kept, later = [line for line in lines if line["step"] <= step], [line for line in lines if line["step"] > step]
    write_whole(path, _jsonl(kept))
    if later:
        aside.parent.mkdir(parents=True, exist_ok=True)
        write_whole(aside, _jsonl(later))
    return bool(later)


def _jsonl(lines: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step_"))


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
