"""One environment in a process of its own, on any machine of the cluster. It needs no network, and imports none."""

import os
import pickle
from collections.abc import Callable
from typing import Any

from ript.env_runner.worker_pool import answer, failure


class EnvWorker:
    """What a worker of `EnvPool` is, as an actor: it makes an environment, and answers calls with pickled `Answer`s.

    Pickled here, so that the learner owns their memory instead of borrowing it from the cluster's object store.
    """

    def __init__(self, make_env: Callable[[], Any]):
        self._make_env = make_env
        self._env: Any = None

    def make(self) -> bytes:
        """Makes the environment."""
        try:
            self._env = self._make_env()
        except Exception as error:
            return bytes(failure(error))
        return pickle.dumps((None, None))

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        """Calls a method of the environment."""
        return bytes(answer(self._env, method, args, kwargs))

    def process(self) -> int:
        """The number of its process."""
        return os.getpid()

    def close(self) -> None:
        """Closes the environment."""
        if self._env is not None:
            self._env.close()
