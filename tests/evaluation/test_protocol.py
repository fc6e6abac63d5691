from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from evaluation_samples import PROTOCOL, SETTINGS, TASKS

from ript.evaluation.protocol import EVALUATION, open_evaluation, read_evaluation

PLAN = {SETTINGS[0]: {TASKS[0]: 5}}


def test_a_folder_remembers_what_was_asked(tmp_path: Path) -> None:
    open_evaluation(tmp_path, PROTOCOL, PLAN)
    assert read_evaluation(tmp_path) == (PROTOCOL, PLAN)
    assert [path.name for path in tmp_path.iterdir()] == [EVALUATION]


def test_more_episodes_tasks_and_settings_add_to_it(tmp_path: Path) -> None:
    open_evaluation(tmp_path, PROTOCOL, PLAN)
    merged = open_evaluation(tmp_path, PROTOCOL, {SETTINGS[1]: {TASKS[1]: 2}, SETTINGS[0]: {TASKS[0]: 3, TASKS[1]: 7}})
    assert merged == {SETTINGS[0]: {TASKS[0]: 5, TASKS[1]: 7}, SETTINGS[1]: {TASKS[1]: 2}}
    assert list(merged) == [SETTINGS[0], SETTINGS[1]]
    assert read_evaluation(tmp_path) == (PROTOCOL, merged)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "seed is 0, not 3"),
        ({"suite": "libero_10"}, "suite is libero_goal, not libero_10"),
        ({"max_steps": 5, "wait_steps": 0}, "max_steps is 300, not 5; wait_steps is 10, not 0"),
        (
            {"policy": {**PROTOCOL.policy, "sha256": {"model.safetensors": "cd34"}}},
            "policy.sha256.model.safetensors is ab12, not cd34",
        ),
        ({"versions": {"ript-pi0": "0.2.0"}}, "versions.ript-pi0 is 0.1.0, not 0.2.0"),
    ],
)
def test_another_protocol_is_refused_by_what_differs(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    open_evaluation(tmp_path, PROTOCOL, PLAN)
    before = (tmp_path / EVALUATION).read_bytes()
    with pytest.raises(ValueError, match=message):
        open_evaluation(tmp_path, replace(PROTOCOL, **change), PLAN)
    assert (tmp_path / EVALUATION).read_bytes() == before


def test_the_same_weights_in_another_place_are_the_same_policy(tmp_path: Path) -> None:
    open_evaluation(tmp_path, PROTOCOL, PLAN)
    open_evaluation(tmp_path, replace(PROTOCOL, policy={**PROTOCOL.policy, "path": "/elsewhere"}), PLAN)
    assert read_evaluation(tmp_path)[0] == PROTOCOL


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / EVALUATION).write_text('{"seed": 0}')
    with pytest.raises(ValueError, match="lacks"):
        open_evaluation(tmp_path, PROTOCOL, PLAN)
