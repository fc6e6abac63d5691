import subprocess
import sys
import time


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
