import contextlib
import functools
import gc
import logging
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import light_env
import numpy as np
import pytest

from ript.env_runner import workers
from ript.env_runner.workers import EnvPool, WorkerError
from ript.simulators.libero.benchmark import LiberoBenchmark
from ript.simulators.libero.env import LiberoEnv

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys, time
sys.path.insert(0, {folder!r})
from light_env import LightEnv
from ript.env_runner import workers
from ript.env_runner.workers import EnvPool

workers.GRACE_S = float(sys.argv[2])
if __name__ == "__main__":
    with EnvPool(LightEnv, 2) as pool:
        print(*pool.call("pid", [(), ()]), flush=True)
        call_s, more_s = float(sys.argv[1]), float(sys.argv[3])
        pool.call("sleep", [(call_s,), (call_s,)])
        time.sleep(more_s)
"""


@pytest.fixture(scope="module")
def shared_pool():
    with EnvPool(light_env.LightEnv, 2) as pool:
        yield pool


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_end(pids, within_s=15.0):
    deadline = time.monotonic() + within_s
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def pids_of(pool):
    return pool.call("pid", [()] * pool.num_envs)


@contextlib.contextmanager
def running_script(tmp_path, call_s="3", grace_s="5"):
    """A process, leader of its own group, that waits for two sleeping workers; and the workers' ids."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(folder=str(TESTS)))
    process = subprocess.Popen(
        [sys.executable, script, call_s, grace_s, "60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
        # A job that a shell started in the background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield process, [int(pid) for pid in process.stdout.readline().split()]
    finally:
        process.kill()
        process.communicate()


def test_request_i_goes_to_environment_i_and_none_sits_out(shared_pool):
    assert shared_pool.reset([(1,), {"value": 2, "plus": 3}]) == [1, 5]
    assert shared_pool.step_chunk([None, (4,)]) == [None, 8]
    assert shared_pool.step_chunk([None, None]) == [None, None]


def test_environments_work_at_the_same_time(shared_pool, tmp_path):
    assert shared_pool.call("meet", [(tmp_path, "a", "b"), (tmp_path, "b", "a")]) == [True, True]


def test_environments_can_be_asked_while_others_are_yet_to_answer_and_answers_go_to_who_asked(shared_pool, tmp_path):
    first = shared_pool.ask("meet", [(tmp_path, "a", "b"), None])
    second = shared_pool.ask("meet", [None, (tmp_path, "b", "a")])
    assert second() == [None, True] and first() == [True, None]
    chunks = shared_pool.begin_chunk([(1,), None])
    assert shared_pool.reset([None, (3,)]) == [None, 3] and chunks() == [2, None]


def test_an_environment_that_was_asked_is_not_asked_again_before_its_answer_is_taken(shared_pool):
    chunks = shared_pool.begin_chunk([None, (4,)])
    with pytest.raises(RuntimeError, match=r"reset: environments \[1\] were asked before"):
        shared_pool.reset([(1,), (2,)])
    assert shared_pool.reset([(1,), None]) == [1, None] and chunks() == [None, 8]
    assert shared_pool.reset([(1,), (2,)]) == [1, 2]


def test_an_exception_spoils_no_answer_of_others(shared_pool):
    failing, fine = shared_pool.begin_chunk([(-7,), None]), shared_pool.begin_chunk([None, (4,)])
    with pytest.raises(WorkerError, match=r"worker 0 failed in step_chunk"):
        failing()
    assert fine() == [None, 8] and shared_pool.reset([(1,), (2,)]) == [1, 2]


def test_a_killed_worker_closes_the_pool_of_those_that_are_yet_to_answer():
    pool = EnvPool(light_env.LightEnv, 2)
    pids = pids_of(pool)
    fine, killed = pool.begin_chunk([(1,), None]), pool.ask("killed", [None, ()])
    with pytest.raises(WorkerError, match=r"worker 1 died with exit code -9"):
        killed()
    assert all_end(pids)
    with pytest.raises(RuntimeError, match="closed"):
        fine()


def test_an_exception_comes_with_worker_and_traceback_and_leaves_the_pool_usable(shared_pool):
    with pytest.raises(WorkerError, match=r"worker 1 failed in step_chunk") as caught:
        shared_pool.step_chunk([(1,), (-7,)])
    assert caught.value.index == 1
    assert "light_env.py" in str(caught.value) and "ValueError: cannot step by -7" in str(caught.value)
    assert shared_pool.step_chunk([(1,), (2,)]) == [2, 4]


def test_a_result_that_cannot_be_sent_is_an_error_of_its_worker(shared_pool):
    with pytest.raises(WorkerError, match="worker 0 failed in unpicklable"):
        shared_pool.call("unpicklable", [(), None])
    assert shared_pool.reset([(1,), (2,)]) == [1, 2]


def test_a_wrong_number_of_requests_is_rejected(shared_pool):
    with pytest.raises(ValueError, match="3 requests for 2 environments"):
        shared_pool.reset([(), (), ()])


def test_workers_compute_on_one_thread_and_the_parent_keeps_its_environment(shared_pool, monkeypatch):
    assert shared_pool.call("environ", [("OMP_NUM_THREADS",)] * 2) == ["1", "1"]
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    EnvPool(light_env.LightEnv, 1).close()
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_killed_worker_is_reported_with_exit_code_and_a_hint_at_memory():
    pool = EnvPool(light_env.LightEnv, 2)
    pids = pids_of(pool)
    with pytest.raises(WorkerError, match=r"worker 1 died with exit code -9.*memory") as caught:
        pool.call("killed", [None, ()])
    assert caught.value.index == 1
    assert all_end(pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.reset([(), ()])


def test_a_worker_that_exits_is_reported_with_its_exit_code():
    with EnvPool(light_env.LightEnv, 1) as pool, pytest.raises(WorkerError, match=r"exit code 3$"):
        pool.call("exit", [(3,)])


def test_a_worker_that_died_between_calls_is_reported():
    with EnvPool(light_env.LightEnv, 1) as pool:
        os.kill(pids_of(pool)[0], signal.SIGKILL)
        with pytest.raises(WorkerError, match="worker 0 died"):
            pool.reset([()])


def test_a_hang_ends_after_the_timeout_and_leaves_no_process(monkeypatch):
    monkeypatch.setattr(workers, "GRACE_S", 0.2)
    pool = EnvPool(light_env.LightEnv, 2, timeout_s=10)
    pids = pids_of(pool)
    pool._timeout_s = 0.5
    start = time.monotonic()
    with pytest.raises(WorkerError, match=r"worker 1 did not answer within 0.5 s"):
        pool.call("sleep", [(0,), (300,)])
    assert time.monotonic() - start < 5
    assert all_end(pids)


def test_an_environment_that_cannot_be_made_fails_the_pool_without_waiting_for_the_others(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "GRACE_S", 0.2)
    start = time.monotonic()
    with pytest.raises(WorkerError, match="could not make its environment") as caught:
        EnvPool(functools.partial(light_env.one_hangs_the_other_fails, tmp_path), 2)
    assert "no OpenGL here" in str(caught.value)
    assert time.monotonic() - start < 30


def test_a_factory_that_cannot_be_pickled_fails_at_once():
    with pytest.raises((AttributeError, TypeError), match=r"pickle|local object"):
        EnvPool(lambda: light_env.LightEnv(), 2)


def test_close_ends_the_workers_closes_their_environments_and_may_be_repeated(tmp_path):
    closed = tmp_path / "closed"
    pool = EnvPool(functools.partial(light_env.LightEnv, closed), 1)
    pids = pids_of(pool)
    pool.close()
    pool.close()
    assert closed.exists() and not any(map(is_alive, pids))


def test_workers_end_when_a_with_block_raises():
    with pytest.raises(KeyError), EnvPool(light_env.LightEnv, 1) as pool:
        pids = pids_of(pool)
        raise KeyError
    assert not any(map(is_alive, pids))


def test_workers_end_when_the_pool_is_forgotten():
    pool = EnvPool(light_env.LightEnv, 1)
    pids = pids_of(pool)
    del pool
    gc.collect()
    assert all_end(pids)


def test_workers_end_when_the_parent_is_killed(tmp_path):
    with running_script(tmp_path) as (process, pids):
        assert len(pids) == 2 and all(map(is_alive, pids))
        process.kill()
        assert all_end(pids)


def test_ctrl_c_is_reported_once_and_ends_the_workers(tmp_path):
    with running_script(tmp_path) as (process, pids):
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
        assert all_end(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_a_signal_to_their_parent(shared_pool, number):
    pids = pids_of(shared_pool)
    for pid in pids:
        os.kill(pid, number)
    assert shared_pool.reset([(1,), (2,)]) == [1, 2]
    assert pids_of(shared_pool) == pids


def test_a_worker_that_hangs_ends_after_its_parent_was_killed(tmp_path):
    with running_script(tmp_path, "60", "0.2") as (process, pids):
        process.kill()
        assert all_end(pids, within_s=5)


def test_a_program_that_forgets_its_pool_ends_with_its_workers(tmp_path):
    """Also where something else registered for the exit first: multiprocessing would wait for workers for ever."""
    code = "import weakref; weakref.finalize(type('Some', (), {}), print)\n" + SCRIPT.format(folder=str(TESTS))
    (tmp_path / "script.py").write_text(
        code.replace("with EnvPool(LightEnv, 2) as pool:", "if pool := EnvPool(LightEnv, 2):")
    )
    command = [sys.executable, tmp_path / "script.py", "0", "5", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert not any(is_alive(int(pid)) for pid in done.stdout.split()[:2])


def test_an_error_of_the_system_is_the_cause(shared_pool):
    with pytest.raises(WorkerError, match=r"failed in read") as caught:
        shared_pool.call("read", [("/no/such/file",), None])
    assert isinstance(caught.value.__cause__, OSError) and "/no/such/file" in str(caught.value.__cause__)


def test_an_error_of_a_worker_can_cross_processes():
    error = WorkerError(3, "died with exit code -9")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.index, str(copy)) == (3, str(error)) == (3, "environment worker 3 died with exit code -9")


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("ript.env_runner.workers", {"mujoco", "torch", "numpy"}),
        ("ript.simulators.libero.env", {"torch", "transformers", "mujoco"}),
        ("ript.demonstrations.collect", {"torch", "transformers", "mujoco"}),
    ],
)
def test_workers_do_not_pay_for_what_they_do_not_use(module, absent):
    code = f"import sys, {module}; print(sorted({absent} & {{*sys.modules}}))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_the_start_method_is_logged_once_per_process(caplog):
    workers._log_start_method.cache_clear()
    with caplog.at_level(logging.INFO, logger=workers.__name__):
        EnvPool(light_env.LightEnv, 1).close()
        EnvPool(light_env.LightEnv, 1).close()
    assert [record.getMessage() for record in caplog.records] == ["environment workers are started by spawn"]


def test_two_processes_simulate_and_render_the_same_episode_bit_by_bit():
    state = LiberoBenchmark("libero_spatial").get_task_init_states(5)[3]
    actions = np.random.default_rng(0).uniform(-1, 1, (20, 7))
    with EnvPool(functools.partial(LiberoEnv, "libero_spatial", 5, image_size=64), 2) as pool:
        starts = pool.reset([{"scene_seed": 11, "init_state": state}] * 2)
        chunks = pool.step_chunk([(actions,)] * 2)
        states = pool.call("get_state", [(), ()])
    assert starts[0].init_hash == starts[1].init_hash
    np.testing.assert_array_equal(states[0], states[1])
    for first, second in (
        (starts[0].observation, starts[1].observation),
        (chunks[0].observations[20], chunks[1].observations[20]),
    ):
        assert first.keys() == second.keys() and len(first) == 5
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    assert starts[0].observation["agentview_image"].std() > 10  # a picture, not a blank
