import inspect
import subprocess
import sys
import time

import pytest
from hydra.utils import get_object


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_importing_ript_loads_neither_torch_nor_the_simulator() -> None:
    heavy = "('torch', 'transformers', 'numpy', 'mujoco', 'robosuite', 'libero', 'hydra')"
    assert run_python(f"import ript, sys; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_importing_ript_is_instant() -> None:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        run_python(code)
        return time.perf_counter() - start

    bare = min(seconds("pass") for _ in range(3))
    assert min(seconds("import ript") for _ in range(3)) < bare + 0.2


def test_importing_the_runner_leaves_the_start_method_alone() -> None:
    code = "import multiprocessing as m, ript.env_runner.pi0_libero_runner; print(m.get_start_method(allow_none=True))"
    assert run_python(code) == "None"


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        (
            "ript.algos.rl_optimizers.rollout_generator.RolloutGenerator.generate_rollouts",
            ["self", "model", "batch", "data_iterator", "dataloader"],
        ),
        (
            "ript.algos.rl_optimizers.cfg_flow_optimizer_pi0.CFGFlowOptimizerPI0.optimize",
            ["self", "model", "batch", "optimizers", "data_iterator", "dataloader"],
        ),
        ("ript.algos.rl_optimizers.file_counter.FileGlobalCounter", ["filename"]),
        ("ript.algos.rl_optimizers.file_counter.setup_file_counter", ["tmp_dir"]),
        ("ript.algos.reward_functions.libero.SuccessReward.compute_reward", ["self", "i", "episode", "batch"]),
        ("ript.algos.policies.pi0_oft_policy.PI0_OFT_Policy", ["device_id", "pretrained_path"]),
        ("ript.env_runner.pi0_libero_runner.Pi0LiberoRunner", ["benchmark_name"]),
        ("ript.env_runner.pi0_libero_runner.Pi0LiberoRunner.create_env", ["self", "task_name"]),
        (
            "ript.env_runner.pi0_libero_runner.Pi0LiberoRunner.run_policy_in_env",
            ["self", "task_name", "policy", "all_init_states", "render", "created_env", "random_init"],
        ),
        ("ript.env_runner.pi0_libero_runner.Pi0LiberoRunner.run", ["self", "policy", "n_video", "do_tqdm"]),
        ("ript.env_runner.pi0_runner_utils.libero_obs_to_pi0", ["obs", "norm_stats", "prompt"]),
    ],
)
def test_what_ripts_users_call_is_where_they_call_it(path: str, arguments: list[str]) -> None:
    assert list(inspect.signature(get_object(path)).parameters)[: len(arguments)] == arguments
