"""A run that trains an adapter goes on after the weights it belongs to have moved."""

from pathlib import Path

import pytest
from planar import write_tiny_policy
from planar_run import planar_config

from ript.models.pi0.policy_card import read_policy_card
from ript.training.loop import InputError, run

SHORT = ("algo.lora={target:expert,r:2}", "rollout.enabled=false", "training.n_steps=2", "training.save_interval=1")


def test_a_resumed_adapter_takes_its_weights_from_pretrained_path(tmp_path: Path) -> None:
    base, moved = write_tiny_policy(tmp_path / "base"), tmp_path / "moved"
    run(planar_config(tmp_path / "run", base, *SHORT, "training.cut=1"))
    base.rename(moved)
    with pytest.raises(InputError, match="the adapter belongs to is missing"):
        run(planar_config(tmp_path / "run", base, *SHORT, "training.resume=true"))
    run(planar_config(tmp_path / "run", moved, *SHORT, "training.resume=true"))
    card = read_policy_card(sorted((tmp_path / "run" / "checkpoints").glob("step_*"))[-1] / "policy")
    assert card.base is not None and card.base.path == str(moved)
