"""The parts of `benchmarks/gpu.py` that run other programs: each prints its rows as lines of JSON, `[case, result]`.

python benchmarks/gpu_runs.py tests
python benchmarks/gpu_runs.py iteration --size full --device cuda
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from gpu import row

from ript.json_files import read_lines

ROOT = Path(__file__).resolve().parents[1]
ROLLOUTS = {"full": (2, 8, 8, 150), "tiny": (1, 2, 1, 20)}
"""Size → contexts, rollouts of each, simulators, steps of an episode at most."""


def tests() -> None:
    """The tests that are marked `gpu`; without CUDA they are all skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_gpu.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    last = [line for line in done.stdout.splitlines() if line][-1]
    if done.returncode:
        sys.exit(last)
    row("pytest -m gpu", last)


def iteration(size: str, device: str) -> None:
    """One iteration of CFG-Flow with the small π0 on LIBERO, by the program that trains."""
    from ript.simulators.egl import choose_egl_device, is_software

    contexts, rollouts, simulators, steps = ROLLOUTS[size]
    egl = choose_egl_device()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "train_ript_pi0.py")]
        command += ["--config-name", "train_rl_pi0_cfg_all_task_small_pi0", f"paths.output_dir={folder}"]
        command += [f"device={device}", "training.n_steps=1"]
        command += [f"algo.demo_batch_size={contexts}", f"algo.rloo_batch_size={rollouts}", "rollout.enabled=false"]
        command += [f"algo.num_parallel_envs={simulators}", f"algo.max_episode_length={steps}", "logging.backends=[]"]
        environment = {**os.environ, "MUJOCO_GL": "egl"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr.strip().splitlines()[-1])
        (metrics,) = read_lines(next(Path(folder).rglob("metrics.jsonl")))
    played, simulated = metrics["time/rollout_s"], metrics["env_steps"]
    drawn = "in software" if is_software(_egl_devices()[egl]) else "on a GPU"
    row(
        f"{contexts} × {rollouts} rollouts, {simulators} simulators",
        f"{played:.1f} s, {simulated / played:.1f} steps/s",
    )
    row("pictures", f"EGL device {egl}, drawn {drawn}")
    row(f"update, {metrics['gradient_steps']:.0f} gradient steps", f"{metrics['time/update_s']:.1f} s")


def _egl_devices() -> list[object]:
    from mujoco.egl import egl_ext

    return list(egl_ext.eglQueryDevicesEXT(64))


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("tests", "iteration"))
    parser.add_argument("--size", choices=ROLLOUTS, default="tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    os.environ["MUJOCO_GL"] = "egl"
    if options.part == "tests":
        tests()
    else:
        iteration(options.size, options.device)


if __name__ == "__main__":
    main()
