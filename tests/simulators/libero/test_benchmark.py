import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ript.env_runner.vec_env import select_tasks
from ript.simulators.libero.benchmark import SUITE_MAX_STEPS, LiberoBenchmark

STANDARD = ["libero_spatial", "libero_object", "libero_goal", "libero_10", "libero_90"]


@pytest.mark.parametrize("name", SUITE_MAX_STEPS)
def test_every_suite_is_complete(name):
    suite = LiberoBenchmark(name)
    assert suite.n_tasks == len(suite.get_task_names()) == (90 if name == "libero_90" else 10)
    for task_id in range(suite.n_tasks):
        assert Path(suite.get_bddl_file(task_id)).is_file()
        assert suite.get_language(task_id)
        states = suite.get_task_init_states(task_id)
        assert states.shape[0] == 50 and states.ndim == 2 and states.dtype == np.float64
        assert np.isfinite(states).all()


def test_episode_lengths_are_those_of_the_published_protocol():
    lengths = [LiberoBenchmark(name).max_episode_length for name in STANDARD]
    assert lengths == [220, 280, 300, 520, 400]
    assert LiberoBenchmark("libero_10_lan").max_episode_length == 520


@pytest.mark.parametrize(
    "name, task_id, language",
    [
        (
            "libero_spatial",
            0,
            "pick up the black bowl between the plate and the ramekin and place it on the plate",
        ),
        ("libero_object", 0, "pick up the alphabet soup and place it in the basket"),
        ("libero_goal", 0, "open the middle drawer of the cabinet"),
        ("libero_10", 2, "turn on the stove and put the moka pot on it"),
        ("libero_spatial_swap", 1, "pick up the black bowl next to the ramekin and place it on the plate"),
        ("libero_goal_lan", 0, "open the cabinet’s middle drawer"),
        ("libero_goal_task", 0, "open the bottom drawer of the cabinet"),
    ],
)
def test_the_instruction_is_the_one_policies_are_prompted_with(name, task_id, language):
    assert LiberoBenchmark(name).get_language(task_id) == language


@pytest.mark.parametrize("name", STANDARD)
def test_standard_instructions_are_those_of_the_task_list(name):
    suite = LiberoBenchmark(name)
    for task_id, task in enumerate(suite.get_task_names()):
        assert task.lower().endswith(suite.get_language(task_id).replace(" ", "_").lower())


@pytest.mark.parametrize("base", ["libero_spatial", "libero_object", "libero_goal", "libero_10"])
@pytest.mark.parametrize("variant", ["lan", "task"])
def test_variants_of_the_instruction_differ_from_the_original(base, variant):
    original, changed = LiberoBenchmark(base), LiberoBenchmark(f"{base}_{variant}")
    assert original.get_task_names() == changed.get_task_names()
    assert all(original.get_language(i) != changed.get_language(i) for i in range(10))


def test_an_unknown_suite_is_rejected_with_the_nearest_and_all_valid_ones():
    with pytest.raises(ValueError, match=r"'libero_spacial'; did you mean 'libero_spatial'\?.*libero_90"):
        LiberoBenchmark("libero_spacial")


def test_a_variant_that_is_listed_without_files_is_unknown():
    with pytest.raises(ValueError, match="libero_spatial_env"):
        LiberoBenchmark("libero_spatial_env")


def test_task_names_and_ids_are_each_other_s_inverse():
    suite = LiberoBenchmark("libero_goal")
    assert [suite.get_task_id(name) for name in suite.get_task_names()] == list(range(10))


def test_an_unknown_task_is_rejected_with_the_nearest_and_all_valid_ones():
    with pytest.raises(ValueError, match=r"did you mean 'turn_on_the_stove'\?.*push_the_plate"):
        LiberoBenchmark("libero_goal").get_task_id("turn_on_stove")


@pytest.mark.parametrize("task_id", [-1, 10])
@pytest.mark.parametrize("method", ["get_language", "get_bddl_file", "get_task_init_states"])
def test_a_task_id_out_of_range_is_rejected(method, task_id):
    with pytest.raises(ValueError, match=rf"{task_id} of libero_goal is not in 0\.\.9"):
        getattr(LiberoBenchmark("libero_goal"), method)(task_id)


def test_task_lists_print_nothing_and_need_no_simulator():
    code = (
        "import sys; from ript.simulators.libero.benchmark import LiberoBenchmark; "
        "LiberoBenchmark('libero_goal').get_task_init_states(0); "
        "assert not {'mujoco', 'robosuite', 'torch'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == result.stderr == ""


def test_tasks_are_selected_by_name_or_id():
    benchmark = LiberoBenchmark("libero_spatial")
    assert select_tasks(benchmark, None) == list(range(10))
    assert select_tasks(benchmark, ["3", benchmark.get_task_names()[1], "3"]) == [1, 3]
    with pytest.raises(ValueError, match="task id 17"):
        select_tasks(benchmark, ["17"])
