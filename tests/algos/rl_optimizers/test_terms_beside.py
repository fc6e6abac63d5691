"""Reflow and co-training in whole runs of each algorithm: off is off, on is something, and the metrics add up."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from planar_run import BESIDE, GRPO, NFT, PPO, planar_config, weights_of

from ript.training.loop import run

CFG_FLOW = ("algo.enable_dynamic_sampling=false", "algo.advantage_weighting=none", "rollout.enabled=false")
RUNS = {
    "cfg_flow": CFG_FLOW,
    "ppo": (*PPO, "algo.critic_warmup_steps=0", "algo.num_epochs=1"),
    "grpo": (*GRPO, "algo.enable_dynamic_sampling=false", "algo.reward_range=[0,1]"),
    "nft": (*NFT, "algo.enable_dynamic_sampling=false"),
}


def trained(folder: Path, policy: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights, and metrics of the last iteration."""
    run(planar_config(folder, policy, *overrides, "training.n_steps=2"))
    return weights_of(folder), json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("algorithm", RUNS)
def test_weight_0_is_bit_for_bit_the_run_without_and_another_is_not(
    tmp_path: Path, tiny_policy_folder: Path, algorithm: str
) -> None:
    def weights(name: str, *more: str) -> dict[str, torch.Tensor]:
        return trained(tmp_path / name, tiny_policy_folder, *RUNS[algorithm], *more)[0]

    without = weights("without")
    no_reflow, no_demonstrations = "algo.rfc_lambda=0", "algo.sft_loss_weight=0"
    zero = weights("zero", *BESIDE, no_reflow, no_demonstrations)
    assert without.keys() == zero.keys() and all(torch.equal(without[name], zero[name]) for name in without)
    for name, off in (("demonstrations", no_reflow), ("reflow", no_demonstrations)):
        some = weights(name, *BESIDE, off)
        assert any(not torch.equal(without[name], some[name]) for name in without)


def test_the_metrics_add_up(tmp_path: Path, tiny_policy_folder: Path) -> None:
    options = (*RUNS["cfg_flow"], *BESIDE, "algo.sft_loss_weight=0.3", "algo.rfc_lambda=0.1")
    _, line = trained(tmp_path / "run", tiny_policy_folder, *options)
    assert line["actor/reflow_mask_ratio"] == 0.5
    assert line["train/ppo_loss"] == line["fm_loss"]
    assert min(line[key] for key in ("fm_loss", "train/sft_loss", "actor/reflow_loss")) > 0
    total = line["fm_loss"] + 0.3 * line["train/sft_loss"] + 0.1 * line["actor/reflow_loss"]
    assert line["actor/total_loss"] == pytest.approx(total)
    assert line["train/loss_ratio"] == pytest.approx(0.3 * line["train/sft_loss"] / line["fm_loss"])


def test_without_the_terms_there_are_no_metrics_of_them(tmp_path: Path, tiny_policy_folder: Path) -> None:
    _, line = trained(tmp_path / "run", tiny_policy_folder, *RUNS["cfg_flow"])
    assert not {"actor/reflow_mask_ratio", "actor/reflow_loss", "actor/total_loss", "train/loss_ratio"} & line.keys()
