import light_env
import numpy as np

from ript.env_runner.vec_env import Chunk, Start
from ript.env_runner.workers import EnvPool


def test_a_pool_of_processes_is_a_vec_env() -> None:
    """Every environment loads the task; the fields of a start or chunk are the arguments of its environment."""
    with EnvPool(light_env.EchoEnv, 2) as pool:
        pool.load_task(7)
        waited = {"scene_seed": 3, "init_state": None, "num_steps_wait": 5}
        assert pool.reset([None, Start(3, num_steps_wait=5)]) == [None, (7, waited)]
        assert pool.reset([Start(3, None, 5), None]) == [(7, waited), None]
        chunk, absent = pool.step_chunk([Chunk(np.ones((2, 7)), observe_every=1, observe_last=False), None])
        assert absent is None and chunk.pop("actions").tolist() == np.ones((2, 7)).tolist()
        assert chunk == {"observe_every": 1, "observe_last": False, "frame_every": None, "frame_size": None}
