"""A LIBERO observation, as openpi's example sends it, and servers to send it to."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ript.env_runner.pi0_runner_utils import raw_state
from ript.serve.server import PolicyServer

PROMPT = "reach the right"
SEED = 7


@pytest.fixture
def libero_observation() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "agentview_image": rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
        "robot0_eye_in_hand_image": rng.integers(0, 256, (40, 40, 3), dtype=np.uint8),
        "robot0_eef_pos": rng.normal(size=3) * 0.3,
        "robot0_eef_quat": np.array([0.6, 0.0, 0.0, 0.8]),
        "robot0_gripper_qpos": rng.normal(size=2) * 0.3,
    }


@pytest.fixture
def message(libero_observation: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "observation/image": np.ascontiguousarray(libero_observation["agentview_image"][::-1, ::-1]),
        "observation/wrist_image": np.ascontiguousarray(libero_observation["robot0_eye_in_hand_image"][::-1, ::-1]),
        "observation/state": raw_state(libero_observation),
        "prompt": PROMPT,
    }


@contextmanager
def _server_process(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "ript.serve", "--pretrained-path", str(folder), "--port", "0", *options]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ)
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"serving ws://127\.0\.0\.1:(\d+)", line):
                break
        else:
            pytest.fail("the server did not start:\n" + "".join(lines))
        threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a reader
        yield process, int(found[1])
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def server_process() -> Callable[..., Any]:
    return _server_process


@pytest.fixture(scope="session")
def served(tiny_policy_folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and the port of a server with a tiny policy, a seed and messages of at most 1 MB."""
    with _server_process(tiny_policy_folder, "--seed", str(SEED), "--max-message-mb", "1") as running:
        yield running


@contextmanager
def _serving(inference: Any, **options: Any) -> Iterator[int]:
    """The port of a server in a thread of this process."""
    ready: asyncio.Queue[int] = asyncio.Queue()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with PolicyServer(inference, **options).listen("127.0.0.1", 0) as port:
            ready.put_nowait(port)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(ready.get(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    return _serving
