"""The plots of a training run; each function gives no plot where the run has no data for it."""

from collections.abc import Callable, Mapping

import numpy as np
from omegaconf import OmegaConf

from ript.report.run_folder import Line, RunFolder
from ript.results.curves import Rates, curves_plot, pool, rates, smoothing_window, success_plot
from ript.results.page import Plot

LOSSES = {
    "fm_loss": "total",
    "fm_loss_pos": "positive branch",
    "fm_loss_uncond": "unconditional branch",
    "actor/reflow_loss": "reflow",
    "train/sft_loss": "demonstrations",
}
ACTOR = {
    "actor/approx_kl": "divergence from the policy that acted, nats",
    "actor/clip_fraction": "share of clipped ratios",
}
NFT = {"actor/positive_loss": "positive", "actor/negative_loss": "negative"}
CRITIC = {
    "critic/value_loss": "value loss",
    "critic/explained_variance": "explained variance",
    "rollout/returns_mean": "mean return",
}
GRADIENTS = {
    "gradient_norm_model": "model",
    "gradient_norm_header": "header",
    "gradient_norm_value": "critic",
    "gradient_norm_latent": "latent actor",
}
TIMES = {"time/rollout_s": "rollouts", "time/update_s": "update"}
MEMORY = {"memory/cpu_gib": "CPU", "memory/gpu_gib": "GPU"}

Axis = Callable[[Line], float | None]
"""Where a line of metrics stands on an axis; None if it does not say."""


def success_plots(run: RunFolder) -> list[Plot]:
    """Success of training rollouts and of evaluations, over environment steps (else iterations) and over time.

    A single evaluation is no curve.
    """
    unit, seconds = _time_unit(run.elapsed_s or 0.0)
    by_steps: tuple[str, str, Axis] = ("env_steps", "environment steps", lambda line: run.env_steps_at(line["step"]))
    by_iterations: tuple[str, str, Axis] = ("iterations", "iteration", lambda line: line["step"])
    by_time: tuple[str, str, Axis] = (
        "time",
        f"wall time in {unit}",
        lambda line: line["time/elapsed_s"] / seconds if "time/elapsed_s" in line else None,
    )
    has_rollouts = bool(run.env_steps.any())
    plots = []
    for name, xlabel, axis in (by_steps if has_rollouts else by_iterations, by_time):
        training, evaluation = _training(run, axis), _evaluation(run, axis)
        if training is not None or (evaluation is not None and len(evaluation.x) > 1):
            figure = success_plot(training, evaluation, xlabel)
            plots.append(Plot(f"success_{name}", _success_caption(run, training, evaluation), figure))
    return plots


def loss_plot(run: RunFolder) -> list[Plot]:
    """Flow-matching losses."""
    return _metrics_plot(run, "losses", "Flow-matching losses; the total is weighted.", LOSSES, "loss")


def actor_plot(run: RunFolder) -> list[Plot]:
    """How far a clipped policy gradient went, or the two losses of NFT."""
    caption = "How far the policy moved from the one that acted, within an iteration."
    losses = "Flow losses of the implicit positive and negative policy."
    return [
        *_metrics_plot(run, "actor", caption, ACTOR, "nats, share"),
        *_metrics_plot(run, "nft", losses, NFT, "loss"),
    ]


def critic_plot(run: RunFolder) -> list[Plot]:
    """What the critic knows."""
    return _metrics_plot(run, "critic", "The critic: 1 is all of the variance explained, 0 none of it.", CRITIC, "")


def gradient_plot(run: RunFolder) -> list[Plot]:
    """Gradient norms before clipping."""
    caption = "Gradient norms per parameter group, before clipping."
    return _metrics_plot(run, "gradients", caption, GRADIENTS, "gradient norm")


def time_plot(run: RunFolder) -> list[Plot]:
    """Where an iteration's time goes."""
    return _metrics_plot(run, "times", "Wall time of an iteration's parts on rank 0.", TIMES, "seconds")


def memory_plot(run: RunFolder) -> list[Plot]:
    """Memory, with its peaks in the caption."""
    curves = {label: run.curve(name) for name, label in MEMORY.items()}
    peaks = [f"{label} {np.nanmax(curve.y):.2f} GiB" for label, curve in curves.items() if curve is not None]
    caption = (
        f"Peak: {', '.join(peaks)}. CPU: resident memory of all ranks and their simulator processes, the largest of "
        "each iteration. GPU: the most that any rank has allocated so far."
    )
    return _metrics_plot(run, "memory", caption, MEMORY, "GiB")


def _metrics_plot(run: RunFolder, name: str, caption: str, metrics: Mapping[str, str], ylabel: str) -> list[Plot]:
    found = {label: run.curve(metric) for metric, label in metrics.items()}
    curves = {label: curve for label, curve in found.items() if curve is not None}
    if not curves:
        return []
    window = smoothing_window(max(len(curve.x) for curve in curves.values()))
    smoothed = f" Thick: moving average over {window} iterations." if window > 1 else ""
    return [Plot(name, caption + smoothed, curves_plot(curves, "iteration", ylabel))]


def _training(run: RunFolder, axis: Axis) -> Rates | None:
    """Success of the training rollouts, dropped groups included; a context has `algo.rloo_batch_size` rollouts."""
    group = OmegaConf.select(run.config, "algo.rloo_batch_size")
    lines = [line for line in run.train if "raw_success_rate" in line and axis(line) is not None]
    if not lines or group is None:
        return None
    tries = np.array([line["rollout_checked"] * group for line in lines])
    successes = tries * np.array([line["raw_success_rate"] for line in lines])
    return pool(np.array([axis(line) for line in lines], float), successes, tries)


def _evaluation(run: RunFolder, axis: Axis) -> Rates | None:
    lines = [line for line in run.evaluations if line["rollout_count"] and axis(line) is not None]
    if not lines:
        return None
    k, n = (np.array([line[key] for line in lines]) for key in ("success_count", "rollout_count"))
    return rates(np.array([axis(line) for line in lines], float), k, n)


def _success_caption(run: RunFolder, training: Rates | None, evaluation: Rates | None) -> str:
    parts = []
    if evaluation is not None:
        parts.append("Evaluation: from the benchmark's own initial states, all tasks.")
    if training is not None:
        window = smoothing_window(len(run.train))
        pooled = f", {window} iterations taken together" if window > 1 else ""
        parts.append(f"Training: every rollout that was tried{pooled}.")
    return " ".join([*parts, "Bars and bands are 95 % Wilson intervals; they take rollouts for independent."])


def _time_unit(seconds: float) -> tuple[str, float]:
    """The unit for an axis of so many seconds, and its seconds."""
    units: list[tuple[str, float]] = [("hours", 3600.0), ("minutes", 60.0)]
    return next((unit for unit in units if seconds > 2 * unit[1]), ("seconds", 1.0))
