"""For whole runs: planes in processes of their own, one of which dies when there is a file `die` beside the run."""

from functools import partial
from pathlib import Path
from typing import Any

from planar import PlanarSimulator
from plane import PlaneInProcess

from ript.env_runner.runner import Runner
from ript.env_runner.vec_env import MakePool, Render
from ript.env_runner.workers import EnvPool


class ProcessesSimulator(PlanarSimulator):
    """The plane with an `EnvPool`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def make_vec_env(
        self, task_id: int, num_envs: int, image_size: int, render: Render = "exact", make_pool: MakePool = EnvPool
    ) -> Any:
        return make_pool(partial(PlaneInProcess, self.folder, task_id), num_envs)


class ProcessesRunner(Runner):
    """The runner on it."""

    def __init__(self, output_dir: str, benchmark_name: str = "planar", **options: Any):
        super().__init__(ProcessesSimulator(Path(output_dir)), **options)
