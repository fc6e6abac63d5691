"""What can be wrong with a run: pure rules, from the metrics of its latest iterations to a cause and an advice.

A metric that an iteration lacks says nothing: it is never taken for zero.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

History = Sequence[Mapping[str, float]]
"""The metrics of the latest iterations, at least one, the newest last."""


class Diagnosis(NamedTuple):
    """Why nothing, or nothing good, is learned."""

    name: str
    cause: str
    """One line, with the numbers."""
    advice: str
    """One line: what to try."""


Rule = Callable[[History], Diagnosis | None]

SEVERAL = 3
"""Iterations in a row: a single one may be an accident of few windows."""
VANISHED = 1e-6
"""Gradient norm; those of runs that learn are 0.1 to 10, and float32 rounds at 1e-7."""
KEPT = 1 / 20
"""Share of the gradient left by clipping, averaged over steps: so low only when almost every step is clipped hard."""
OUT_OF_RANGE = 0.05
"""Share of numbers beyond the bound; data that fit stay below 0.01, and one dimension in 8 that is off gives 0.12."""
RMS = (0.1, 3.0)
"""Root mean square of normalised numbers; those that fit have about 1 (z-score) or 0.5 (quantile)."""
CLIPPED = 0.3
"""Share of arm commands beyond ±1: two of six dimensions always. A fast policy saturates one, others now and then."""
OVERFITTED = 0.2
"""Positive loss of the last epoch, relative to the first: a batch that is learned from, not by heart, keeps more."""
NOT_ONE = 1e-3
"""Divergence in nats; float32 rounds a sum over a chunk to about 1e-8."""
CLIPPED_AWAY = 0.8
"""Share of ratios outside the clip; runs that learn have 0.1 to 0.5."""
BLIND = -0.5
"""Explained variance: 0 is as good as the mean, and a critic of few decisions wavers around it."""
BLOCK, BLOCKS, RISE = 10, 3, 1.5
"""A loss rises when the means of 3 blocks of 10 iterations do, by this factor in all; single iterations are noisy."""
DROWNED = 1e5
"""Weighted loss of demonstrations to RL loss. A clipped policy loss starts near 0, so a high ratio is no fault yet."""
HISTORY = BLOCK * BLOCKS
"""Iterations that the rules look back."""


def uniform_groups(history: History) -> Diagnosis | None:
    """No group taught anything, because its rollouts all ended alike."""
    now = history[-1]
    if not {"groups_failed", "groups_solved"} <= now.keys():
        return None
    if now.get("non_zero_adv_ratio", 0.0) > 0:  # left out when no group was accepted
        return None
    failed, solved, tried = (int(now[key]) for key in ("groups_failed", "groups_solved", "rollout_checked"))
    if tried == 0 or failed + solved < tried:
        return None
    if not solved:
        advice = "start from a better policy (algo=pi0_sft first), take easier contexts, or raise algo.rloo_batch_size"
        return Diagnosis("all_groups_failed", f"no rollout of the {tried} groups succeeded", advice)
    if not failed:
        advice = "nothing is left to learn here: evaluate, and go on to harder tasks or contexts"
        return Diagnosis("all_groups_solved", f"all rollouts of the {tried} groups succeeded", advice)
    return Diagnosis(
        "all_groups_uniform",
        f"{failed} groups failed in all rollouts, {solved} succeeded in all",
        "raise algo.rloo_batch_size or algo.max_groups_per_step, or take contexts of middling difficulty",
    )


def zero_advantages(history: History) -> Diagnosis | None:
    """Groups were mixed, and yet no rollout was better than its siblings."""
    now = history[-1]
    if now.get("non_zero_adv_ratio") != 0 or not {"groups_failed", "groups_solved"} <= now.keys():
        return None
    mixed = int(now["rollout_checked"] - now["groups_failed"] - now["groups_solved"])
    if mixed <= 0:
        return None
    cause = f"{mixed} groups had successes and failures, but every advantage is 0"
    return Diagnosis("advantages_zero", cause, "look at reward_function: it gives success and failure the same reward")


def vanishing_gradient(history: History) -> Diagnosis | None:
    """A parameter group has had no gradient for several iterations."""
    for group in ("model", "header", "latent"):
        norms = _latest(history, f"gradient_norm_{group}", SEVERAL)
        if norms and max(norms) < VANISHED:
            return Diagnosis(
                "gradient_vanishing",
                f"gradient_norm_{group} was at most {max(norms):.2g} in {SEVERAL} iterations",
                "see that windows have a weight (algo.alpha_uncond, advantages) and that the right parts are trained",
            )
    return None


def clipped_gradient(history: History) -> Diagnosis | None:
    """Clipping has left almost nothing of the gradient for several iterations."""
    for group in ("model", "header", "latent"):
        kept = _latest(history, f"gradient_kept_{group}", SEVERAL)
        if kept and max(kept) < KEPT:
            return Diagnosis(
                "gradient_clipped",
                f"clipping left at most {max(kept):.2g} of the {group} gradient in {SEVERAL} iterations",
                "lower algo.lr and algo.header_lr (DSRL: algo.latent_lr), check the norm stats; if the loss falls all "
                "the same, raise algo.gradient_clip",
            )
    return None


def norm_stats_far_off(history: History) -> Diagnosis | None:
    """Normalised states or action labels are not where their statistics put them."""
    for name, what in (("state", "states"), ("label", "action labels")):
        if fault := _range_fault(history[-1], name):
            return Diagnosis(
                "norm_stats_far_off",
                f"normalised {what}: {fault}",
                "the statistics are of another robot, data set or mode: set algo.norm_stats_path, or compute them with "
                "python -m ript.demonstrations.compute_norm_stats",
            )
    return None


def actions_far_off(history: History) -> Diagnosis | None:
    """The policy asks for actions that no data show."""
    now = history[-1]
    fault = _range_fault(now, "chunk", low=0.0)
    clipped = now.get("command_clipped", 0.0)
    if not fault and clipped <= CLIPPED:
        return None
    if fault:
        cause = f"the policy's normalised actions: {fault}"
    else:
        cause = f"{clipped:.0%} of the commands to the arm are beyond ±1"
    cfg_scale = now.get("cfg_scale", 1.0)
    if cfg_scale > 1:
        advice = f"lower algo.cfg_scale, it is {cfg_scale:g}; keep 1 until the policy was trained with the condition"
    else:
        advice = "check the norm stats of actions and algo.delta_actions; start from a policy trained on this robot"
    return Diagnosis("actions_far_off", cause, advice)


def overfitted_batch(history: History) -> Diagnosis | None:
    """The positive windows are learned by heart within an iteration."""
    several = [(m["fm_loss_pos_first_epoch"], m["fm_loss_pos_last_epoch"]) for m in history if _has_epochs(m)]
    if len(several) < SEVERAL or not _has_epochs(history[-1]):
        return None
    ratios = [last / first for first, last in several[-SEVERAL:] if first > 0]
    if not ratios or max(ratios) >= OVERFITTED:
        return None
    return Diagnosis(
        "batch_overfitted",
        f"the last epoch's positive loss was at most {max(ratios):.2f} of the first's in {SEVERAL} iterations",
        "lower algo.num_epochs or algo.lr, or collect more: algo.demo_batch_size, algo.rloo_batch_size",
    )


def rising_loss(history: History) -> Diagnosis | None:
    """The loss of a branch rises. `fm_loss` is left out: it also grows with the share of successes."""
    for name in ("fm_loss_pos", "fm_loss_uncond"):
        values = _latest(history, name, HISTORY)
        means = [sum(values[i : i + BLOCK]) / BLOCK for i in range(0, len(values), BLOCK)]
        if means and means == sorted(means) and means[-1] > RISE * means[0]:
            return Diagnosis(
                "loss_rising",
                f"{name} rose from {means[0]:.3g} to {means[-1]:.3g} within {HISTORY} iterations",
                "lower algo.lr and algo.header_lr, algo.cfg_scale if it is above 1; go back to an earlier checkpoint",
            )
    return None


def ratio_not_one(history: History) -> Diagnosis | None:
    """The first gradient step's ratios say that the policy that is trained is not the one that acted."""
    divergence = history[-1].get("actor/first_step_kl", 0.0)
    if divergence < NOT_ONE:
        return None
    return Diagnosis(
        "ratio_not_one",
        f"before the first gradient step the policy is {divergence:.2g} nats from the one that acted; it should be 0",
        "the network is not the same when it learns: set lora.dropout=0 and algo.dtype=float32, or report a bug",
    )


def leaving_the_clip(history: History) -> Diagnosis | None:
    """Most ratios have left the clip for several iterations: the later epochs teach nothing."""
    shares = _latest(history, "actor/clip_fraction", SEVERAL)
    if not shares or min(shares) < CLIPPED_AWAY:
        return None
    return Diagnosis(
        "policy_moves_too_fast",
        f"at least {min(shares):.0%} of the ratios lay outside the clip in {SEVERAL} iterations",
        "lower algo.lr and algo.header_lr (DSRL: algo.latent_lr) or algo.num_epochs, or set algo.ratio=chunk_mean",
    )


def blind_critic(history: History) -> Diagnosis | None:
    """The critic knows less than the mean would, after it had time to learn."""
    known = _latest(history, "critic/explained_variance", HISTORY)
    if not known or max(known[-BLOCK:]) > BLIND:
        return None
    return Diagnosis(
        "critic_blind",
        f"the critic explained at most {max(known[-BLOCK:]):.2g} of the returns' variance in {BLOCK} iterations",
        "raise algo.value_lr, set algo.critic_warmup_steps, or compare within groups: algo.advantage=rloo",
    )


def drowned_by_demonstrations(history: History) -> Diagnosis | None:
    """The demonstrations' loss leaves nothing of reinforcement learning."""
    found = history[-1].get("train/loss_ratio", 0.0)
    if not math.isfinite(found) or found <= DROWNED:
        return None
    return Diagnosis(
        "co_training_dominates",
        f"the weighted loss of the demonstrations is {found:.2g} times that of reinforcement learning",
        "lower algo.sft_loss_weight",
    )


def not_finite(history: History) -> Diagnosis | None:
    """A metric is NaN or infinite. A gradient that is ends the run before its step."""
    names = [name for name, value in history[-1].items() if not math.isfinite(value)]
    if not names:
        return None
    advice = "look at reward_function and the data for NaN; lower algo.lr if it is a loss"
    return Diagnosis("not_finite", f"not a finite number: {', '.join(names)}", advice)


RULES: tuple[Rule, ...] = (
    uniform_groups,
    zero_advantages,
    vanishing_gradient,
    clipped_gradient,
    norm_stats_far_off,
    actions_far_off,
    overfitted_batch,
    rising_loss,
    ratio_not_one,
    leaving_the_clip,
    blind_critic,
    drowned_by_demonstrations,
    not_finite,
)


def _latest(history: History, name: str, count: int) -> list[float]:
    """The metric in the last `count` iterations that have it; nothing if they are fewer, or the newest has it not."""
    values = [metrics[name] for metrics in history if name in metrics]
    return values[-count:] if name in history[-1] and len(values) >= count else []


def _range_fault(metrics: Mapping[str, float], name: str, low: float = RMS[0]) -> str:
    """What is wrong with the range of `name`, empty if nothing is."""
    far, rms = metrics.get(f"{name}_out_of_range"), metrics.get(f"{name}_rms")
    if far is None or rms is None or (far <= OUT_OF_RANGE and low <= rms <= RMS[1]):
        return ""
    return f"{far:.0%} are out of range, their root mean square is {rms:.3g}"


def _has_epochs(metrics: Mapping[str, float]) -> bool:
    return {"fm_loss_pos_first_epoch", "fm_loss_pos_last_epoch"} <= metrics.keys()
