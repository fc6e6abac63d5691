from pathlib import Path

import pytest
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.training.checkpoint import complete_checkpoints, find_checkpoint, load_state, save_checkpoint


def test_a_checkpoint_loads_again_as_a_policy(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 3, tiny_policy, {"step": 3}, keep=2)
    again = PI0_OFT_Policy(pretrained_path=str(path / "policy"))
    assert again.card == tiny_policy.card
    for name, tensor in tiny_policy.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert (path / "policy" / "norm_stats.json").read_text() == tiny_policy.norm_stats_path.read_text()
    assert again.tokenizer.to_str() == tiny_policy.tokenizer.to_str()
    assert load_state(path) == {"step": 3}


def test_only_the_newest_checkpoints_are_kept(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save_checkpoint(tmp_path, step, tiny_policy, {"step": step}, keep=2)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step_000003", "step_000010"]


def test_a_half_written_checkpoint_is_never_picked_and_is_cleaned(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    good = save_checkpoint(root, 1, tiny_policy, {"step": 1}, keep=2)
    (root / "step_000002").mkdir()  # renamed, but killed before the marker
    (root / ".step_000003.tmp").mkdir()
    assert find_checkpoint(tmp_path, None) == good
    newest = save_checkpoint(root, 4, tiny_policy, {"step": 4}, keep=2)
    assert sorted(root.iterdir()) == [good, newest]


def test_a_checkpoint_of_the_same_step_is_replaced(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 1, tiny_policy, {"step": 1, "try": 1}, keep=2)
    path = save_checkpoint(tmp_path, 1, tiny_policy, {"step": 1, "try": 2}, keep=2)
    assert load_state(path)["try"] == 2


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        find_checkpoint(tmp_path, None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_checkpoint(tmp_path, str(tmp_path / "nowhere"))


def test_code_in_a_training_state_is_not_executed(tmp_path: Path) -> None:
    import pickle

    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    (tmp_path / "training.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(pickle.UnpicklingError):
        load_state(tmp_path)
