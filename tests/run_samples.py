"""Folders of runs that nobody ran."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ript.results.success import Tally, summarize
from ript.results.videos import Film, write_video

TASKS = ("open_the_drawer", "push_the_plate")
CONFIG = """
algo:
  rl_optimizer: {_target_: ript.algos.rl_optimizers.cfg_flow_optimizer_pi0.CFGFlowOptimizerPI0}
  rloo_batch_size: 4
  pretrained_path: /policies/a
  random_weights: false
task: {benchmark_name: libero_goal, task_names_to_use: null}
seed: 7
training: {n_steps: 20}
"""


def iteration(step: int) -> dict[str, Any]:
    """An iteration of CFG-Flow: 2 contexts, 8 rollouts, 30 s."""
    return {
        "step": step,
        "phase": "train",
        "rollout_checked": 2.0,
        "env_steps": 1000.0 + step,
        "raw_success_rate": (step % 9) / 8,
        "fm_loss": 1 / step,
        "fm_loss_pos": 2 / step,
        "fm_loss_uncond": 3 / step,
        "gradient_norm_model": 0.5,
        "gradient_norm_header": 0.25,
        "time/rollout_s": 20.0,
        "time/update_s": 5.0,
        "memory/cpu_gib": 1.25 + 0.5 * (step == 3),
        "time/elapsed_s": 30.0 * step,
    }


def sft_iteration(step: int) -> dict[str, Any]:
    """A step of supervised fine-tuning."""
    kept = ("step", "phase", "fm_loss", "fm_loss_pos", "fm_loss_uncond", "gradient_norm_model", "gradient_norm_header")
    return {**{key: iteration(step)[key] for key in kept}, "time/update_s": 0.2, "time/elapsed_s": 0.25 * step}


def evaluation(step: int, successes: Sequence[int], episodes: int = 10) -> dict[str, Any]:
    """An evaluation of both tasks."""
    counts = {f"success_count/{task}": k for task, k in zip(TASKS, successes, strict=True)}
    counts |= {f"rollout_count/{task}": episodes for task in TASKS}
    total = summarize({task: Tally(k, episodes) for task, k in zip(TASKS, successes, strict=True)})["rollout"]
    return {"step": step, "phase": "eval", **total, **counts, "time/elapsed_s": 30.0 * step + 5}


def write_run(folder: Path, lines: Sequence[dict[str, Any]], config: str = CONFIG) -> Path:
    """A folder with these lines of metrics."""
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.yaml").write_text(config)
    return folder


def film(folder: Path, step: int, shown: Film) -> str:
    """A video of the evaluation after `step` iterations; returns its path within the folder."""
    path = write_video([np.zeros((16, 16, 3), np.uint8)], folder / "videos" / f"step_{step:06d}", shown.name)
    return str(path.relative_to(folder))
