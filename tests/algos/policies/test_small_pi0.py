"""The policy that ships: complete, small, and as its card says."""

import re

from planar_run import CONFIG_DIR
from yaml import safe_load

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.algos.policies.policy_parts import DEFAULT_FOLDER

TASKS = safe_load((CONFIG_DIR / "task" / "small_pi0.yaml").read_text())["task_names_to_use"]


def card_counts() -> dict[str, tuple[int, int]]:
    """Task → (k, n) of the card's table."""
    card = (DEFAULT_FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| (\w[\w ]*?) \|.*? (\d+)/(\d+) \|", card, re.MULTILINE)
    return {name: (int(k), int(n)) for name, k, n in rows}


def test_it_is_what_no_path_means() -> None:
    policy = PI0_OFT_Policy()
    assert (policy.kind, policy.card.condition_mode, policy.image_size, policy.chunk_size) == ("pi0", "concat", 96, 50)
    assert policy.card.sha256.keys() == {"model.safetensors", "condition.safetensors"}
    assert policy.norm_stats_path.parent == DEFAULT_FOLDER


def test_its_folder_has_everything_in_at_most_16_megabytes() -> None:
    names = {path.name for path in DEFAULT_FOLDER.iterdir()}
    needed = {"README.md", "model.safetensors", "condition.safetensors", "network.json", "norm_stats.json"}
    assert names == needed | {"policy.json", "tokenizer.json"}
    assert sum(path.stat().st_size for path in DEFAULT_FOLDER.iterdir()) <= 16e6


def test_its_card_counts_each_of_its_tasks_and_leaves_room_for_reinforcement_learning() -> None:
    counts = card_counts()
    total = counts.pop("all tasks")
    assert list(counts) == TASKS
    assert all(k > 0 and n >= 50 for k, n in counts.values())
    assert total == tuple(map(sum, zip(*counts.values(), strict=True)))
    assert 0.25 <= total[0] / total[1] < 0.8
