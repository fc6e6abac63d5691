"""The simulators that are installed: one of each is started, looks at its first scene, and is timed."""

import os
import time
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import NamedTuple

import numpy as np
import psutil
import torch

from ript.algos.policies.policy_parts import DEFAULT_FOLDER
from ript.doctor.finding import Finding, amount, note, ok, problem
from ript.doctor.options import Options
from ript.doctor.packages import INSTALL, extra_of, install_extra, installed, one_line
from ript.env_runner.vec_env import Adapter, Chunk, Simulator, Start, VecEnv
from ript.models.pi0.norm_stats import Normalizer, NormStats
from ript.models.pi0.stats_source import NORM_STATS
from ript.simulators.registry import make_simulator, simulators

IMAGE_SIZE = 256
"""Pixels wide and high; full-size policies see 224."""
STEPS = 10
"""Per timed chunk."""
REPEATS = 3
SLOW_MS = 10.0
"""Per image: where a GPU renders it takes less."""
_BACKEND = "MUJOCO_GL"


class Measured(NamedTuple):
    """One environment."""

    cameras: int
    """Images per observation."""
    start_s: float
    """From nothing to the first observation."""
    step_ms: float
    """A control step without images."""
    image_ms: float
    """One image."""
    memory_bytes: int
    """Resident memory that it added to that of this process and of those that it started."""


def check(options: Options) -> Iterator[Finding]:
    """Findings per simulator; no simulator at all is a problem."""
    usable = []
    for name, folder in simulators().items():
        missing = [package for package in folder.PACKAGES if installed(package) is None]
        if missing:
            remedy = getattr(folder, "INSTALL", None) or install(missing)
            yield note(name, f"is not installed: {', '.join(missing)} missing", remedy, missing=missing)
            continue
        usable.append(name)
        versions = ", ".join(f"{package} {installed(package)}" for package in folder.PACKAGES)
        yield ok(name, f"{len(folder.SUITES)} suites; {versions}", suites=list(folder.SUITES))
        if options.start_simulators:
            yield from start(name, folder)
    if not usable:
        yield problem("simulators", f"none of {', '.join(simulators())} is installed", INSTALL)


def install(missing: list[str]) -> str:
    """The command that brings the packages."""
    extra = next((extra for extra in map(extra_of, missing) if extra), None)
    return install_extra(extra) if extra else INSTALL


def start(name: str, folder: ModuleType) -> Iterator[Finding]:
    """Starts one environment of the first suite's first task, and says how fast it is and what it takes."""
    suite = folder.SUITES[0]
    try:
        found = measure(make_simulator(suite))
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        yield problem(f"{name}: start", f"{suite} does not start: {one_line(error)}", folder.REMEDY)
        return
    yield rendering(name, folder, found)
    yield memory(name, found.memory_bytes, psutil.virtual_memory().available)


def rendering(name: str, folder: ModuleType, found: Measured) -> Finding:
    """The speed, and whether a GPU that is there seems not to render."""
    mujoco = "mujoco" in folder.PACKAGES
    backend = os.environ.get(_BACKEND) if mujoco else None
    text = (
        f"{found.image_ms:.1f} ms per image of {IMAGE_SIZE} × {IMAGE_SIZE} ({found.cameras} per observation), "
        f"{found.step_ms:.1f} ms per control step, {found.start_s:.1f} s to start"
        + (f"; {_BACKEND}={backend}" if mujoco else "")
    )
    data = {"backend": backend, **found._asdict()}
    if found.image_ms > SLOW_MS and torch.cuda.is_available():
        remedy = "NVIDIA's EGL and Vulkan libraries (in a container: NVIDIA_DRIVER_CAPABILITIES=all), and MUJOCO_GL=egl"
        return note(f"{name}: rendering", f"{text}; a GPU is there, but seems not to render", remedy, **data)
    return ok(f"{name}: rendering", text, **data)


def memory(name: str, each: int, available: int) -> Finding:
    """How many such environments fit into the memory that is free."""
    number = available // max(1, each)
    text = f"{amount(each)} per environment; free memory is enough for {number} more"
    if number < 1:
        return note(f"{name}: memory", text, "algo.num_parallel_envs=1, or free some memory", memory_bytes=each)
    return ok(f"{name}: memory", text, memory_bytes=each)


def measure(simulator: Simulator) -> Measured:
    """Starts an environment and times it. Raises RuntimeError for an image with nothing on it."""
    before, began = resident(), time.perf_counter()
    with closing(simulator.make_vec_env(0, 1, IMAGE_SIZE)) as env:
        (reset,) = env.reset([Start(0)])
        start_s = time.perf_counter() - began
        assert reset is not None
        adapter = make_adapter(simulator)
        images = adapter.observe(reset.observation, "")["image"]
        blank = [camera for camera, image in images.items() if np.ptp(image) == 0]
        if blank:
            raise RuntimeError(f"the image of {', '.join(blank)} is blank")
        actions = adapter.to_env(np.zeros((STEPS, adapter.action_dim)), adapter.raw_state(reset.observation))
        step_s, image_s = speed(env, actions, len(images))
        return Measured(len(images), start_s, 1000 * step_s, 1000 * image_s, resident() - before)


def make_adapter(simulator: Simulator) -> Adapter:
    """The simulator's conventions with statistics that change nothing, as wide as its robot needs."""
    robot = simulator.make_adapter(NormStats.load(DEFAULT_FOLDER / NORM_STATS), False)
    widths = robot.state_dim, robot.action_dim
    stats = NormStats(*(Normalizer(np.zeros(width), np.ones(width), "identity") for width in widths))
    return simulator.make_adapter(stats, False)


def speed(env: VecEnv, actions: np.ndarray, cameras: int) -> tuple[float, float]:
    """Seconds of a control step and of an image, from the shortest of `REPEATS` chunks without and with images."""
    bare = min(seconds(env, Chunk(actions, observe_last=False)) for _ in range(REPEATS))
    seen = min(seconds(env, Chunk(actions, observe_every=1)) for _ in range(REPEATS))
    return bare / len(actions), max(0.0, seen - bare) / (cameras * len(actions))


def seconds(env: VecEnv, chunk: Chunk) -> float:
    """How long the environment takes for the chunk."""
    began = time.perf_counter()
    env.step_chunk([chunk])
    return time.perf_counter() - began


def resident() -> int:
    """Bytes of this process and all that it started."""
    process = psutil.Process()
    return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
