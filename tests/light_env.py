"""An environment without a simulator that misbehaves on request, importable by spawned workers."""

import os
import signal
import time
from pathlib import Path
from typing import Any


class LightEnv:
    def __init__(self, closed_file: Path | None = None) -> None:
        self.closed_file = closed_file

    def reset(self, value: int = 0, plus: int = 0) -> int:
        return value + plus

    def step_chunk(self, value: int) -> int:
        if value < 0:
            raise ValueError(f"cannot step by {value}")
        return 2 * value

    def pid(self) -> int:
        return os.getpid()

    def environ(self, name: str) -> str | None:
        return os.environ.get(name)

    def unpicklable(self) -> Any:
        return lambda: None

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def exit(self, code: int) -> None:
        os._exit(code)

    def killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def meet(self, folder: Path, me: str, other: str) -> bool:
        """Return once the other environment is in this method too."""
        (folder / me).touch()
        deadline = time.monotonic() + 30
        while not (folder / other).exists():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def close(self) -> None:
        if self.closed_file is not None:
            self.closed_file.touch()


class EchoEnv:
    """Says what it was asked."""

    def load_task(self, task_id: int) -> None:
        self.task_id = task_id

    def reset(self, **start: Any) -> Any:
        return self.task_id, start

    def step_chunk(self, **chunk: Any) -> Any:
        return chunk

    def close(self) -> None:
        pass


def one_hangs_the_other_fails(folder: Path) -> LightEnv:
    try:
        (folder / "hanging").touch(exist_ok=False)
    except FileExistsError:
        raise RuntimeError("no OpenGL here") from None
    time.sleep(300)
    return LightEnv()
