"""fast_smoke.sh and the suite launchers, with DRY_RUN=1: the command they print is parsed as Hydra would."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "scripts/openpi/try/fast_smoke.sh"
FIRST_TASK = "pick_up_the_cream_cheese_and_place_it_in_the_basket"

DEFAULTS = {
    "algo.max_episode_length": 150,
    "algo.num_steps_wait": 10,
    "algo.eval_only": False,
    "training.n_steps": 5,
    "algo.demo_batch_size": 4,
    "algo.rloo_batch_size": 8,
    "rollout.rollouts_per_env": 30,
    "rollout.n_video": 1,
    "algo.num_parallel_envs": 2,
    "algo.early_stop_percentage": 1.0,
    "algo.enable_dynamic_sampling": False,
    "algo.window_stride": None,
    "algo.max_windows_per_episode": None,
    "algo.optimizer_batch_size": 16,
    "algo.render": "fast",
    "algo.condition_mode": "concat",
    "rollout.enabled": True,
    "algo.pretrained_path": None,
    "algo.norm_stats_path": None,
    "task": "small_pi0",
    "task.task_names_to_use": [FIRST_TASK],
}

VARIABLES = [
    ("MAX_EP_LEN", "20", "algo.max_episode_length", 20),
    ("MAX_EP_LEN", "null", "algo.max_episode_length", None),
    ("WAIT_STEPS", "0", "algo.num_steps_wait", 0),
    ("EVAL_ONLY", "1", "algo.eval_only", True),
    ("EVAL_ONLY", "True", "algo.eval_only", True),
    ("TRAINING_STEPS", "7", "training.n_steps", 7),
    ("BATCH_SIZE", "3", "algo.demo_batch_size", 3),
    ("RLOO_BATCH", "4", "algo.rloo_batch_size", 4),
    ("ROLLOUTS_PER_ENV", "3", "rollout.rollouts_per_env", 3),
    ("N_VIDEO", "0", "rollout.n_video", 0),
    ("NUM_ENVS", "5", "algo.num_parallel_envs", 5),
    ("EARLY_STOP_PCT", "0.8", "algo.early_stop_percentage", 0.8),
    ("ENABLE_DYNAMIC_SAMPLING", "true", "algo.enable_dynamic_sampling", True),
    ("STRIDE", "10", "algo.window_stride", 10),
    ("STRIDE", "last", "algo.window_stride", "last"),
    ("STRIDE", "null", "algo.window_stride", None),
    ("MAX_WINDOWS", "6", "algo.max_windows_per_episode", 6),
    ("OPTIMIZER_BATCH", "4", "algo.optimizer_batch_size", 4),
    ("RENDER", "exact", "algo.render", "exact"),
    ("CONDITION_MODE", "token", "algo.condition_mode", "token"),
    ("ROLLOUT_ENABLED", "0", "rollout.enabled", False),
    ("PRETRAIN_PATH", "checkpoints/pi0", "algo.pretrained_path", "checkpoints/pi0"),
    ("NORM_STATS", "/stats/norm_stats.json", "algo.norm_stats_path", "/stats/norm_stats.json"),
    ("TASKS", "null", "task.task_names_to_use", None),
    ("TASKS", "first_task,second_task", "task.task_names_to_use", ["first_task", "second_task"]),
]

MALFORMED = [
    ("MAX_EP_LEN", "0"),
    ("WAIT_STEPS", "-1"),
    ("EVAL_ONLY", "yes please"),
    ("TRAINING_STEPS", "two"),
    ("BATCH_SIZE", "1.5"),
    ("RLOO_BATCH", "08"),
    ("EARLY_STOP_PCT", "1.5"),
    ("STRIDE", "first"),
    ("MAX_WINDOWS", "all"),
    ("CONDITION_MODE", "add"),
    ("RENDER", "slow"),
    ("ROLLOUT_ENABLED", "2"),
    ("SUITE", "libero goal"),
    ("TASKS", "a task with spaces"),
    ("NPROC", "abc"),
    ("DRY_RUN", "maybe"),
]


def run(script, *arguments, cwd=ROOT, **variables):
    """Runs a script with only the given variables, as a dry run unless they say otherwise."""
    # The locale decides how bash quotes "π" when it prints the command.
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DRY_RUN": "1", **variables}
    return subprocess.run(
        ["bash", ROOT / script, *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=60
    )


def command(script, *arguments, **variables):
    """The words of the printed command."""
    result = run(script, *arguments, **variables)
    assert result.returncode == 0, result.stderr
    return shlex.split(result.stdout)


def overrides(words):
    """The Hydra overrides of a command, as {key: value}."""
    own = words[words.index(str(ROOT / "train_ript_pi0.py")) + 1 :]
    parsed = OverridesParser.create().parse_overrides([word for word in own if "=" in word])
    return {override.get_key_element(): override.value() for override in parsed}


def test_without_variables_the_smoke_run_has_its_documented_defaults():
    words = command(SMOKE)
    assert Path(words[0]).name == "python"
    assert overrides(words) == DEFAULTS


@pytest.mark.parametrize(("variable", "text", "key", "value"), VARIABLES)
def test_each_variable_becomes_its_override_and_changes_nothing_else(variable, text, key, value):
    assert overrides(command(SMOKE, **{variable: text})) == {**DEFAULTS, key: value}


def test_another_suite_is_run_with_all_its_tasks_unless_some_are_named():
    chosen = {**DEFAULTS, "task": "libero_goal", "rollout.rollouts_per_env": 5}
    assert overrides(command(SMOKE, SUITE="libero_goal")) == {**chosen, "task.task_names_to_use": None}
    named = command(SMOKE, SUITE="libero_goal", TASKS="open_the_drawer")
    assert overrides(named) == {**chosen, "task.task_names_to_use": ["open_the_drawer"]}


def test_an_empty_variable_counts_as_unset():
    assert overrides(command(SMOKE, NPROC="", STRIDE="", PRETRAIN_PATH="")) == DEFAULTS


@pytest.mark.parametrize(("variable", "text"), MALFORMED)
def test_a_malformed_value_is_refused_in_one_line_that_names_the_variable(variable, text):
    result = run(SMOKE, **{variable: text})
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"{variable}={text} is not valid: expected ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "path", ["/a folder/b", "/step=1,lr=2/[x]{y}", "it's", r"back\slash", r"odd\'one\\", "/weights/π0"]
)
@pytest.mark.parametrize("script", [SMOKE, "scripts/pi0_cfg/train/libero_goal.sh"])
def test_any_path_reaches_hydra_unchanged(script, path):
    assert overrides(command(script, PRETRAIN_PATH=path))["algo.pretrained_path"] == path
    assert overrides(command(script, NORM_STATS=path))["algo.norm_stats_path"] == path


def test_several_processes_run_under_torchrun_on_a_free_port():
    words = command(SMOKE, NPROC="2")
    assert Path(words[0]).name == "torchrun"
    assert "--nproc_per_node=2" in words
    assert any(re.fullmatch(r"--master_port=\d{5}", word) for word in words)
    assert overrides(words) == DEFAULTS


def test_further_arguments_follow_the_overrides():
    assert command(SMOKE, "algo.lr=1e-5", "+note=a b")[-2:] == ["algo.lr=1e-5", "+note=a b"]


def test_the_help_lists_every_variable_with_its_override():
    text = run(SMOKE, "--help").stdout
    for variable, _, key, _ in VARIABLES:
        assert re.search(rf"^{variable} \(default .*\n.* -> {re.escape(key)}$", text, re.MULTILINE)
    assert "NPROC (default 1)" in text
    assert "DRY_RUN (default false)" in text


def test_scripts_run_from_any_folder(tmp_path):
    assert run(SMOKE, cwd=tmp_path).returncode == 0
    assert run("scripts/pi0_cfg/eval/libero_long.sh", cwd=tmp_path).returncode == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "suite"),
    [*((f"libero_{s}", s) for s in ("spatial", "object", "goal", "long")), ("small_pi0", "small_pi0")],
)
def test_suite_launchers_use_the_config_of_their_suite(script, suite):
    for mode in ("train", "eval"):
        words = command(f"scripts/pi0_cfg/{mode}/{script}.sh", "3", "algo.lr=1e-5")
        assert "--nproc_per_node=3" in words
        assert words[words.index("--config-name") + 1] == f"train_rl_pi0_cfg_all_task_{suite}"
        evaluating = {"algo.eval_only": True} if mode == "eval" else {}
        assert overrides(words) == {**evaluating, "algo.lr": 1e-5}


def test_suite_launchers_use_one_process_when_no_number_is_given():
    words = command("scripts/pi0_cfg/train/libero_goal.sh", "algo.lr=1e-5")
    assert Path(words[0]).name == "python"
    assert words[-1] == "algo.lr=1e-5"


def test_suite_launchers_refuse_a_malformed_number_of_processes():
    result = run("scripts/pi0_cfg/train/libero_goal.sh", "many")
    assert (result.returncode, result.stderr) == (2, "N_GPU=many is not valid: expected a positive integer\n")


@pytest.mark.parametrize("script", ["one_task", "ablations", "five_tasks", "algorithms", "metaworld", "maniskill"])
def test_scripts_of_results_need_a_folder(script):
    result = run(f"scripts/results/{script}.sh")
    assert result.returncode == 2 and result.stderr.startswith("usage: bash ") and "FOLDER" in result.stderr
