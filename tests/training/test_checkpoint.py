import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.distributed import Distributed
from ript.training.checkpoint import VERSION, complete_checkpoints, find_checkpoint, load_state, save_checkpoint


def save(root: Path, number: int, save_policy: Callable[[Path], None] = Path.mkdir, **state: int) -> Path:
    return save_checkpoint(
        root,
        number,
        2,
        Distributed(),
        save_policy=save_policy,
        state=state,
        save_arrays=lambda folder: (folder / "replay_0.safetensors").touch(),
    )


def test_a_checkpoint_loads_again_as_a_policy(tiny_policy: PI0_OFT_Policy, tmp_path: Path) -> None:
    path = save(tmp_path, 3, save_policy=tiny_policy.save, step=3)
    again = PI0_OFT_Policy(pretrained_path=str(path / "policy"))
    assert again.card == tiny_policy.card
    for name, tensor in tiny_policy.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name])
    assert (path / "policy" / "norm_stats.json").read_text() == tiny_policy.norm_stats_path.read_text()
    assert again.tokenizer.to_str() == tiny_policy.tokenizer.to_str()
    assert load_state(path) == {"step": 3, "version": VERSION}
    assert (path / "replay_0.safetensors").exists()


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 10):
        save(tmp_path, step)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step_000003", "step_000010"]


def test_a_new_checkpoint_is_never_pruned_even_if_later_ones_are_there(tmp_path: Path) -> None:
    for step in (4, 6, 3):
        save(tmp_path, step)
    assert "step_000003" in [path.name for path in complete_checkpoints(tmp_path)]


def test_a_half_written_checkpoint_is_never_picked_and_is_cleaned(tmp_path: Path) -> None:
    root = tmp_path / "checkpoints"
    good = save(root, 1)
    (root / "step_000002").mkdir()  # renamed, but killed before the marker
    (root / ".step_000003.tmp").mkdir()
    assert find_checkpoint(tmp_path, True, None) == good
    newest = save(root, 4)
    assert sorted(root.iterdir()) == [good, newest]


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 1, attempt=1)
    assert load_state(save(tmp_path, 1, attempt=2))["attempt"] == 2


def test_a_missing_checkpoint_is_named_unless_resuming_is_automatic(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        find_checkpoint(tmp_path, True, None)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find_checkpoint(tmp_path, True, str(tmp_path / "nowhere"))
    assert find_checkpoint(tmp_path, "auto", None) is None
    assert find_checkpoint(tmp_path, False, str(tmp_path / "nowhere")) is None
    assert find_checkpoint(tmp_path, "auto", None) is None
    good = save(tmp_path / "checkpoints", 1)
    assert find_checkpoint(tmp_path, "auto", None) == good


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize("content", [pickle.dumps(Bomb()), b"", b"junk", b"not a training state"])
def test_a_damaged_state_is_one_line_with_its_file_and_no_code_is_executed(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "training.pt").write_bytes(content)
    with pytest.raises(ValueError, match="damaged training state") as caught:
        load_state(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path / "training.pt") in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_a_state_whose_pickle_asks_for_a_storage_that_is_none_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    torch.save({"version": VERSION}, path)
    with zipfile.ZipFile(path) as whole:
        entries = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as damaged:
        for name, content in entries.items():
            damaged.writestr(name, b"\x80\x02K\x03Q." if name.endswith("data.pkl") else content)
    with pytest.raises(ValueError, match="damaged training state"):
        load_state(tmp_path)


def test_a_truncated_state_is_one_line_with_its_file(tmp_path: Path) -> None:
    torch.save({"tensor": torch.zeros(1000), "version": VERSION}, tmp_path / "training.pt")
    path = tmp_path / "training.pt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=str(path)):
        load_state(tmp_path)


def test_a_state_of_a_later_version_is_refused(tmp_path: Path) -> None:
    torch.save({"version": 99}, tmp_path / "training.pt")
    with pytest.raises(ValueError, match="version 99"):
        load_state(tmp_path)
