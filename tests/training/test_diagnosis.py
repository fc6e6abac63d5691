import json
import logging
import re
from pathlib import Path
from typing import Any

import plane
import pytest
from planar_run import planar_config

from ript.training.diagnosis import ABSENT, REPEAT_AFTER, Diagnostician
from ript.training.diagnosis_rules import HISTORY, RULES, SEVERAL, Diagnosis
from ript.training.loop import run

Metrics = dict[str, float]

HEALTHY_RL: Metrics = {
    "rollout_checked": 6,
    "groups_failed": 2,
    "groups_solved": 1,
    "raw_success_rate": 0.4,
    "mean_scores": 0.4,
    "mean_advantage": 0,
    "non_zero_adv_ratio": 1,
    "fm_loss": 0.4,
    "fm_loss_pos": 0.5,
    "fm_loss_uncond": 0.5,
    "fm_loss_pos_first_epoch": 0.6,
    "fm_loss_pos_last_epoch": 0.4,
    "gradient_norm_model": 3.0,
    "gradient_norm_header": 0.3,
    "gradient_kept_model": 0.4,
    "gradient_kept_header": 1,
    "state_out_of_range": 0.002,
    "state_rms": 0.9,
    "chunk_out_of_range": 0.001,
    "chunk_rms": 1.1,
    "command_clipped": 0.1,
    "cfg_scale": 1,
}
HEALTHY_PPO: Metrics = HEALTHY_RL | {
    "actor/first_step_kl": 1e-8,
    "actor/clip_fraction": 0.3,
    "critic/explained_variance": -0.05,
}
HEALTHY_SFT: Metrics = {
    "fm_loss": 0.5,
    "fm_loss_pos": 0.5,
    "fm_loss_uncond": 0.5,
    "gradient_norm_model": 0.9,
    "gradient_norm_header": 1.2,
    "gradient_kept_model": 1,
    "gradient_kept_header": 0.9,
    "state_out_of_range": 0,
    "state_rms": 1,
    "label_out_of_range": 0.01,
    "label_rms": 0.4,
}
NOTHING_ACCEPTED = {"non_zero_adv_ratio": None, "fm_loss_pos": None, "gradient_norm_model": None, "mean_scores": None}
RISING = [HEALTHY_RL | {"fm_loss_uncond": 0.5 + 0.02 * i} for i in range(HISTORY)]


def changed(metrics: Metrics, **values: float | None) -> Metrics:
    """The metrics with other values, and without those set to None."""
    return {name: value for name, value in (metrics | values).items() if value is not None}


def diagnose(history: list[Metrics]) -> list[Diagnosis]:
    return [diagnosis for rule in RULES if (diagnosis := rule(history))]


def diagnoses_of(run_dir: Path) -> list[dict[str, Any]]:
    path = run_dir / "diagnosis.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("metrics", [HEALTHY_RL, HEALTHY_PPO, HEALTHY_SFT, {}], ids=["rl", "ppo", "sft", "no metrics"])
def test_a_healthy_history_has_no_diagnosis(metrics: Metrics) -> None:
    falling = [metrics | {"fm_loss_pos": 2.0 / (i + 1)} if metrics else {} for i in range(HISTORY)]
    for length in range(1, HISTORY + 1):
        assert diagnose(falling[:length]) == []


@pytest.mark.parametrize("missing", sorted(HEALTHY_RL))
def test_a_missing_metric_is_not_taken_for_zero(missing: str) -> None:
    assert diagnose([changed(HEALTHY_RL, **{missing: None})] * HISTORY) == []


@pytest.mark.parametrize(
    ("fault", "name", "said"),
    [
        ({"groups_failed": 6, "groups_solved": 0, **NOTHING_ACCEPTED}, "all_groups_failed", "pi0_sft"),
        ({"groups_failed": 6, "groups_solved": 0, "non_zero_adv_ratio": 0}, "all_groups_failed", "6 groups"),
        ({"groups_failed": 0, "groups_solved": 6, **NOTHING_ACCEPTED}, "all_groups_solved", "harder tasks"),
        ({"groups_failed": 4, "groups_solved": 2, **NOTHING_ACCEPTED}, "all_groups_uniform", "rloo_batch_size"),
        ({"non_zero_adv_ratio": 0}, "advantages_zero", "3 groups had successes and failures.*reward_function"),
        ({"state_out_of_range": 0.125}, "norm_stats_far_off", "states: 12% are out of range.*norm_stats_path"),
        ({"state_rms": 0.01}, "norm_stats_far_off", "root mean square is 0.01"),
        ({"label_out_of_range": 0, "label_rms": 4}, "norm_stats_far_off", "action labels"),
        ({"chunk_out_of_range": 0.4}, "actions_far_off", "normalised actions.*norm stats"),
        ({"chunk_out_of_range": 0.4, "cfg_scale": 3}, "actions_far_off", "lower algo.cfg_scale, it is 3"),
        ({"command_clipped": 0.5, "cfg_scale": 2}, "actions_far_off", "50% of the commands.*cfg_scale"),
        ({"actor/first_step_kl": 0.01}, "ratio_not_one", "0.01 nats.*lora.dropout=0"),
        ({"train/loss_ratio": 2e5}, "co_training_dominates", "2e.05 times.*lower algo.sft_loss_weight"),
        ({"mean_scores": float("nan")}, "not_finite", "mean_scores"),
    ],
)
def test_a_fault_of_one_iteration_is_named_with_an_advice(fault: Metrics, name: str, said: str) -> None:
    (diagnosis,) = diagnose([HEALTHY_RL] * 5 + [changed(HEALTHY_RL, **fault)])
    assert diagnosis.name == name
    assert "\n" not in diagnosis.cause + diagnosis.advice
    assert re.search(said, f"{diagnosis.cause}; {diagnosis.advice}")


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        ({"gradient_norm_header": 1e-8}, "gradient_vanishing"),
        ({"gradient_kept_model": 0.01}, "gradient_clipped"),
        ({"fm_loss_pos_last_epoch": 0.05}, "batch_overfitted"),
        ({"actor/clip_fraction": 0.9}, "policy_moves_too_fast"),
    ],
)
def test_what_may_be_an_accident_must_last_several_iterations(fault: Metrics, name: str) -> None:
    faulty = HEALTHY_RL | fault
    assert diagnose([HEALTHY_RL] * 9 + [faulty] * (SEVERAL - 1)) == []
    assert [d.name for d in diagnose([HEALTHY_RL] * 9 + [faulty] * SEVERAL)] == [name]
    gap = changed(HEALTHY_RL, **dict.fromkeys(fault))
    assert diagnose([faulty] * SEVERAL + [gap]) == [], "the newest iteration says nothing about it"


def test_a_critic_has_time_to_learn() -> None:
    blind = HEALTHY_RL | {"critic/explained_variance": -1.0}
    assert diagnose([blind] * (HISTORY - 1)) == []
    assert [d.name for d in diagnose([blind] * HISTORY)] == ["critic_blind"]
    assert diagnose([blind] * HISTORY + [HEALTHY_RL | {"critic/explained_variance": 0.1}]) == []


def test_a_loss_must_rise_for_many_iterations() -> None:
    assert diagnose(RISING[:-1]) == []
    (diagnosis,) = diagnose(RISING)
    assert diagnosis.name == "loss_rising" and "fm_loss_uncond rose from 0.59 to 0.99" in diagnosis.cause


def test_the_weighted_loss_may_rise_with_the_successes() -> None:
    assert diagnose([HEALTHY_RL | {"fm_loss": 0.1 + 0.1 * i} for i in range(HISTORY)]) == []


def said_at(folder: Path, faulty_steps: set[int], last: int) -> list[int]:
    diagnostician = Diagnostician(folder, enabled=True)
    for step in range(1, last + 1):
        fault = {"state_out_of_range": 0.5} if step in faulty_steps else {}
        diagnostician.observe(step, HEALTHY_RL | fault)
    return [line["step"] for line in diagnoses_of(folder)]


def test_a_diagnosis_that_stays_is_said_ever_more_rarely(tmp_path: Path) -> None:
    assert said_at(tmp_path, set(range(1, 101)), 100) == [
        1,
        1 + REPEAT_AFTER,
        1 + 3 * REPEAT_AFTER,
        1 + 7 * REPEAT_AFTER,
    ]


def test_a_diagnosis_that_comes_back_is_said_again(tmp_path: Path) -> None:
    assert said_at(tmp_path, {1, 2, 3 + ABSENT}, 9) == [1, 3 + ABSENT]


def test_one_that_flickers_is_not(tmp_path: Path) -> None:
    assert said_at(tmp_path, set(range(1, 11, 2)), 10) == [1]


def test_only_rank_0_speaks_and_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Diagnostician(tmp_path, enabled=False).observe(1, {"state_out_of_range": 0.5, "state_rms": 5})
    assert not caplog.messages and not list(tmp_path.iterdir())


def test_a_run_that_never_succeeds_says_so(
    tmp_path: Path, tiny_policy_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(plane, "RADIUS", 0.0)
    with caplog.at_level(logging.WARNING):
        run(planar_config(tmp_path / "run", tiny_policy_folder, "rollout.enabled=false"))
    assert [(line["step"], line["name"]) for line in diagnoses_of(tmp_path / "run")] == [(1, "all_groups_failed")]
    (warning,) = [message for message in caplog.messages if "all_groups_failed" in message]
    assert "no rollout of the 8 groups succeeded\n  advice: start from a better policy" in warning


@pytest.mark.parametrize("sampling", ["true", "false"])
def test_norm_stats_of_another_robot_are_recognised(tmp_path: Path, tiny_policy_folder: Path, sampling: str) -> None:
    stats = json.loads((tiny_policy_folder / "norm_stats.json").read_text())
    stats["norm_stats"]["state"] |= {"mean": [3.0] * 8, "std": [0.1] * 8}
    (tmp_path / "other.json").write_text(json.dumps(stats))
    options = (f"algo.norm_stats_path={tmp_path / 'other.json'}", f"algo.enable_dynamic_sampling={sampling}")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "rollout.enabled=false", "training.n_steps=1"))
    (line,) = [line for line in diagnoses_of(tmp_path / "run") if line["name"] == "norm_stats_far_off"]
    assert line["step"] == 1 and "100% are out of range" in line["cause"]
    assert line.keys() == {"step", "name", "cause", "advice"}


def test_exploding_guidance_is_recognised(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = ("algo.cfg_scale=1000", "rollout.cfg_scale=1", "rollout.enabled=false", "training.n_steps=3")
    run(planar_config(tmp_path / "run", tiny_policy_folder, *options, "algo.enable_dynamic_sampling=false"))
    found = {line["name"]: line["advice"] for line in diagnoses_of(tmp_path / "run")}
    assert "lower algo.cfg_scale, it is 1000" in found["actions_far_off"]
