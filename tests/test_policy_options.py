"""Every command with a policy can say how its weights are used."""

from pathlib import Path
from typing import Any

import pytest
from golden_folders import write_foreign_folder
from hydra import compose, initialize_config_dir

from ript.evaluation import evaluated_policy
from ript.evaluation.__main__ import parse_arguments as evaluation_arguments
from ript.serve import inference
from ript.serve.__main__ import parse_arguments as serve_arguments
from ript.training.build import arguments_of

CONFIG = Path(__file__).parents[1] / "config"


def serve(folder: Path, *options: str) -> Any:
    return inference.load_policy(serve_arguments(["--pretrained-path", str(folder), "--device", "cpu", *options]))


def evaluate(folder: Path, *options: str) -> Any:
    required = ["--suite", "s", "--out", "o", "--policy", str(folder), "--device", "cpu"]
    return evaluated_policy.load_policy(evaluation_arguments([*required, *options]))


@pytest.mark.parametrize("load", [serve, evaluate])
def test_options_reach_the_policy_and_are_the_checkpoints_unless_set(tmp_path: Path, load: Any) -> None:
    folder = write_foreign_folder(tmp_path, "pi05")
    card = load(folder).card
    assert (card.delta_actions, card.discrete_state_input, card.normalization) == (False, False, "quantile")
    card = load(folder, "--delta-actions", "--discrete-state-input", "--normalization", "z_score").card
    assert (card.delta_actions, card.discrete_state_input, card.normalization) == (True, True, "z_score")
    assert load(folder, "--no-delta-actions").card.delta_actions is False


def test_the_configuration_has_a_key_for_each() -> None:
    with initialize_config_dir(str(CONFIG), version_base=None):
        cfg = compose("train_rl_pi0_cfg_all_task_small_pi0", ["algo.normalization=quantile", "algo.delta_actions=true"])
    assert (cfg.algo.normalization, cfg.algo.delta_actions) == ("quantile", True)
    assert cfg.algo.discrete_state_input is None
    taken = arguments_of(cfg.algo.policy._target_)
    assert {"normalization", "delta_actions", "discrete_state_input"} <= set(taken)
