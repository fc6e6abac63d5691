"""The server, as its clients see it; openpi's own client where it matters."""

import asyncio
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websocket
from openpi_client import msgpack_numpy
from openpi_client import websocket_client_policy as client_module
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ript.algos.policies.pi0_oft_policy import PI0_OFT_Policy
from ript.env_runner.pi0_runner_utils import actions_to_env, collate_observations, libero_obs_to_pi0
from ript.models.pi0.preprocess import CAMERAS
from ript.serve.__main__ import check_options, parse_arguments
from ript.serve.codec import encode
from ript.serve.inference import PolicyInference
from ript.serve.observation import RequestReader
from ript.serve.server import PolicyServer

pytestmark = pytest.mark.filterwarnings("ignore:connect:DeprecationWarning")  # the client's way of calling it

Served = tuple[subprocess.Popen[str], int]
Message = dict[str, Any]
READER = RequestReader(CAMERAS, state_dim=8)
SEED = 7  # of the `served` process


def client(port: int) -> Any:
    return client_module.WebsocketClientPolicy("127.0.0.1", port)


def health(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
        return answer.read().decode()


def direct_actions(policy: PI0_OFT_Policy, observation: dict[str, np.ndarray], prompt: str, number: int) -> np.ndarray:
    """What the runner would execute."""
    noise = PolicyInference(policy, seed=SEED).noise(number)
    prepared = collate_observations([libero_obs_to_pi0(observation, policy.norm_stats, prompt)])
    return actions_to_env(policy.select_action(prepared, noise=noise)[0].numpy(), policy.norm_stats, None)


def test_openpis_client_gets_the_actions_of_a_rollout(
    served: Served, tiny_policy: PI0_OFT_Policy, libero_observation: dict[str, np.ndarray], message: Message
) -> None:
    robot = client(served[1])
    assert robot.get_server_metadata()["action_horizon"] == 50
    for number in range(2):
        answer = robot.infer(message)
        assert answer["actions"].shape == (50, 7)
        expected = direct_actions(tiny_policy, libero_observation, message["prompt"], number)
        np.testing.assert_allclose(answer["actions"], expected, atol=1e-6)
        assert answer["server_timing"]["infer_ms"] > 0
    assert answer["server_timing"]["prev_total_ms"] > 0


def test_delta_actions_are_added_to_the_start_state(tiny_policy: PI0_OFT_Policy, message: Message) -> None:
    request = READER.read(message, None)
    absolute = PolicyInference(tiny_policy, seed=0).run(request, 0)
    tiny_policy.card = replace(tiny_policy.card, delta_actions=True)
    moved = PolicyInference(tiny_policy, seed=0).run(request, 0) - absolute
    np.testing.assert_allclose(moved, np.tile([*message["observation/state"][:6], 0], (50, 1)), atol=1e-9)


def test_an_invalid_observation_is_answered_and_the_same_client_goes_on(served: Served, message: Message) -> None:
    robot = client(served[1])
    with pytest.raises(RuntimeError, match="observation/state holds NaN"):
        robot.infer({**message, "observation/state": np.full(8, np.nan)})
    with pytest.raises(RuntimeError, match="'observation/image' is missing"):
        robot.infer({"prompt": "reach"})
    with pytest.raises(RuntimeError, match="tokens, at most 48"):
        robot.infer({**message, "prompt": "reach the top " * 40})
    assert robot.infer(message)["actions"].shape == (50, 7)


def test_garbage_and_text_are_answered_with_a_reason(served: Served, message: Message) -> None:
    with connect(f"ws://127.0.0.1:{served[1]}", compression=None) as raw:
        assert msgpack_numpy.unpackb(raw.recv())["server"] == "ript-pi0"
        for data, reason in (
            (b"\xc1 garbage", "not a msgpack message"),
            ("hello", "text frame"),
            (b"", "not a msgpack"),
        ):
            raw.send(data)
            answer = raw.recv()
            assert isinstance(answer, str) and reason in answer
        raw.send(encode(message))
        assert msgpack_numpy.unpackb(raw.recv())["actions"].shape == (50, 7)


def test_an_oversized_message_ends_its_connection_only(served: Served, message: Message) -> None:
    robot, other = client(served[1]), client(served[1])
    with pytest.raises(ConnectionClosed) as closed:
        robot.infer({**message, "observation/image": np.zeros((640, 640, 3), np.uint8)})
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
    assert other.infer(message)["actions"].shape == (50, 7)


def test_two_clients_at_once_get_what_each_would_get_alone(served: Served, message: Message) -> None:
    def drive(_: int) -> list[np.ndarray]:
        robot = client(served[1])
        return [robot.infer(message)["actions"] for _ in range(4)]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(drive, range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_by_default_only_this_machine_can_connect(served: Served) -> None:
    assert parse_arguments([]).host == "127.0.0.1"
    socket.create_connection(("127.0.0.1", served[1]), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):  # a server on all addresses would take it
        socket.create_connection(("127.0.0.2", served[1]), timeout=5)


def test_health_and_web_pages(served: Served) -> None:
    assert health(served[1]) == "OK\n"
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{served[1]}", origin="http://a.page").close()


def test_a_client_that_names_the_servers_address_as_its_origin_is_answered(served: Served, message: Message) -> None:
    """As websocket-client does by default."""
    for host in ("127.0.0.1", "localhost"):
        plain = websocket.create_connection(f"ws://{host}:{served[1]}", timeout=10)
        assert msgpack_numpy.unpackb(plain.recv())["server"] == "ript-pi0"
        plain.send_binary(encode(message))
        assert msgpack_numpy.unpackb(plain.recv())["actions"].shape == (50, 7)
        plain.close()


@pytest.mark.parametrize(
    "headers", [{"origin": "http://a.page"}, {"origin": "http://a.page:{port}", "host": "a.page:{port}"}]
)
def test_a_refused_origin_is_logged_with_the_flag_that_allows_it(
    serving: Callable[..., Any], headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """The second is what a page does whose name was made to point at this machine."""
    with serving(SlowInference(0)) as port:
        sent = {name: value.format(port=port) for name, value in headers.items()}
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            websocket.create_connection(f"ws://127.0.0.1:{port}", timeout=10, **sent)
    assert f"Origin '{sent['origin']}' is not allowed; --allow-origin {sent['origin']}" in caplog.text


def test_an_allowed_origin_is_answered(serving: Callable[..., Any]) -> None:
    assert parse_arguments(["--allow-origin", "http://a.page"]).allow_origin == ["http://a.page"]
    with serving(SlowInference(0), allowed_origins=["http://a.page"]) as port:
        connect(f"ws://127.0.0.1:{port}", origin="http://a.page").close()
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://127.0.0.1:{port}", origin="http://b.page").close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_server_with_clients_connected(
    server_process: Callable[..., Any], tiny_policy_folder: Path, number: int, code: int
) -> None:
    with server_process(tiny_policy_folder) as (process, port):
        robot = client(port)
        process.send_signal(number)
        assert process.wait(10) == code
        with pytest.raises(ConnectionClosed, match="1001"):
            robot.infer({})


class SlowInference:
    """Takes a while, and knows how many ran at the same time."""

    def __init__(self, seconds: float = 0.5):
        self.metadata: dict[str, Any] = {}
        self.seconds = seconds
        self.running = self.most = 0
        self.started = threading.Event()

    def read(self, message: Message) -> Message:
        return message

    def run(self, request: Message, number: int) -> np.ndarray:
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        time.sleep(self.seconds)
        self.running -= 1
        if "fail" in request:
            raise ZeroDivisionError("a bug")
        return np.zeros((50, 7))


def test_one_inference_runs_at_a_time_while_the_server_stays_responsive(serving: Callable[..., Any]) -> None:
    inference = SlowInference()
    with serving(inference) as port, ThreadPoolExecutor(2) as pool:
        robots = [client(port), client(port)]
        answers = [pool.submit(robot.infer, {}) for robot in robots]
        assert inference.started.wait(5)
        start = time.perf_counter()
        assert health(port) == "OK\n"
        assert time.perf_counter() - start < 0.4
        waits = sorted(answer.result()["server_timing"]["queue_ms"] for answer in answers)
    assert inference.most == 1
    assert waits[0] < 300 < waits[1]


def test_a_bug_ends_its_connection_only_and_tells_the_client_no_internals(serving: Callable[..., Any]) -> None:
    with serving(SlowInference(0)) as port:
        robot, other = client(port), client(port)
        with pytest.raises(RuntimeError, match="the server failed") as failed:
            robot.infer({"fail": 1})
        assert "ZeroDivision" not in str(failed.value)
        with pytest.raises(ConnectionClosed, match="1011"):
            robot.infer({})
        assert other.infer({})["actions"].shape == (50, 7)


def test_one_connection_too_many_is_refused_until_another_ends(serving: Callable[..., Any]) -> None:
    with serving(SlowInference(0), max_connections=1) as port:
        with connect(f"ws://127.0.0.1:{port}") as only:
            only.recv()
            with pytest.raises(InvalidStatus, match="503"):
                client(port)
            assert health(port) == "OK\n"
        for _ in range(50):
            try:
                return client(port)._ws.close()
            except InvalidStatus:
                time.sleep(0.05)
        pytest.fail("the place did not become free")


def test_stopping_drops_what_waits_and_ends_soon(serving: Callable[..., Any]) -> None:
    inference = SlowInference(0.3)
    with ThreadPoolExecutor(4) as pool:
        with serving(inference) as port:
            robots = [client(port) for _ in range(4)]
            answers = [pool.submit(robot.infer, {}) for robot in robots]
            assert inference.started.wait(5)
            start = time.perf_counter()
        assert time.perf_counter() - start < 5
        assert any(isinstance(answer.exception(), ConnectionClosed) for answer in answers)


def test_a_policy_that_produces_nan_is_an_error_not_an_answer(tiny_policy: PI0_OFT_Policy, message: Message) -> None:
    tiny_policy.model.action_out_proj.bias.data.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="NaN"):
        PolicyInference(tiny_policy).run(READER.read(message, None), 0)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--device", "gpu"], "device='gpu'.*auto, cpu, cuda"),
        (["--cfg-scale", "nan"], "cfg_scale"),
        (["--port", "70000"], "port=70000.*65535"),
        (["--num-steps", "0"], "num_steps"),
        (["--max-message-mb", "0"], "max_message_mb"),
    ],
)
def test_bad_options_are_named_before_anything_is_loaded(arguments: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_options(parse_arguments(arguments))


def test_a_port_in_use_is_an_os_error(serving: Callable[..., Any]) -> None:
    async def second(port: int) -> None:
        async with PolicyServer(SlowInference()).listen("127.0.0.1", port):
            pass

    with serving(SlowInference()) as port, pytest.raises(OSError, match="in use"):
        asyncio.run(second(port))
