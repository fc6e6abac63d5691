"""Which device is rendered on. The order is tested on made-up machines, the rest on this one's own EGL."""

import os
import subprocess
import sys

import pytest

from ript.simulators.egl import order_of_trial

FOUR_GPUS = [False] * 4 + [True]
"""What EGL lists on a machine with four GPUs and Mesa."""

SIMULATE = """
import logging, os
from ript.simulators.libero.env import LiberoEnv

logging.basicConfig(level=logging.INFO)
env = LiberoEnv("libero_object", 0, image_size=16)
print(env.reset(0, num_steps_wait=0).observation["agentview_image"].std())
print(os.environ["CUDA_VISIBLE_DEVICES"])
"""


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "2"}, 2),
        ({"LOCAL_RANK": "5"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "3"}, 3),
        ({"CUDA_VISIBLE_DEVICES": "2,3", "LOCAL_RANK": "1"}, 3),
        ({"CUDA_VISIBLE_DEVICES": "", "LOCAL_RANK": "1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f2a,GPU-11", "LOCAL_RANK": "1"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "7"}, 0),
    ],
)
def test_ranks_are_spread_over_gpus_and_every_device_is_a_way_out(environ: dict[str, str], first: int) -> None:
    order = order_of_trial(FOUR_GPUS, environ)
    assert order[0] == first and order[-1] == 4 and sorted(order) == [0, 1, 2, 3, 4]


def test_a_gpu_is_preferred_wherever_it_stands_and_without_one_the_cpu_renders() -> None:
    assert order_of_trial([True, False], {"CUDA_VISIBLE_DEVICES": "0"}) == [1, 0]
    assert order_of_trial([True], {"CUDA_VISIBLE_DEVICES": "3", "LOCAL_RANK": "1"}) == [0]


def test_a_simulator_renders_whatever_torch_may_see_and_leaves_that_as_it_was() -> None:
    environ = {**os.environ, "MUJOCO_GL": "egl", "CUDA_VISIBLE_DEVICES": "GPU-8f2a"}
    done = subprocess.run([sys.executable, "-c", SIMULATE], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "OpenGL_accelerate" not in done.stderr
    spread, visible = done.stdout.splitlines()
    assert float(spread) > 10 and visible == "GPU-8f2a"


@pytest.mark.parametrize("index", ["99", "one"])
def test_a_device_that_is_not_there_is_refused_with_what_is(index: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ript.simulators.egl import choose_egl_device

    with pytest.raises(ValueError, match=rf"MUJOCO_EGL_DEVICE_ID='{index}' is not valid: EGL has the devices 0 to \d"):
        choose_egl_device({"MUJOCO_EGL_DEVICE_ID": index})
