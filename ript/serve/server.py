"""openpi's websocket protocol: metadata at once, then one answer for each observation.

Both directions are binary frames (see `ript.serve.codec`); a text frame is an error message. An answer is
`{"actions": (H, 7), "server_timing": {"infer_ms", "queue_ms", "prev_total_ms"}}`.
"""

import asyncio
import http
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from ript.serve.codec import MessageError, decode, encode
from ript.serve.inference import PolicyInference
from ript.serve.origins import is_allowed

logger = logging.getLogger(__name__)


class PolicyServer:
    """Serves one policy to several clients. Inferences run one at a time, in a thread; the event loop stays free.

    Args:
        inference: what answers.
        max_message_bytes: a longer message ends its connection with code 1009.
        max_connections: one more is answered with HTTP 503.
        allowed_origins: of browsers and other clients that name one; another is answered with HTTP 403.
    """

    def __init__(
        self,
        inference: PolicyInference,
        max_message_bytes: int = 16 * 2**20,
        max_connections: int = 16,
        allowed_origins: Collection[str] = (),
    ):
        self.inference = inference
        self.max_message_bytes = max_message_bytes
        self.max_connections = max_connections
        self.allowed_origins = allowed_origins
        self._open = 0
        self._metadata = encode(inference.metadata)

    @asynccontextmanager
    async def listen(self, host: str, port: int) -> AsyncIterator[int]:
        """Serves until the context ends; yields the port, which the system chooses for 0. Raises OSError."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        options: dict[str, Any] = {
            "process_request": self._answer_http,
            "compression": None,  # as openpi; and a small message cannot unpack to a large one
            "max_size": self.max_message_bytes,
            "max_queue": 1,
        }
        async with serve(self._converse, host, port, **options) as server:
            try:
                yield _port_of(server)
            finally:
                self._thread.shutdown(wait=False, cancel_futures=True)

    def _answer_http(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """Before the handshake: `/healthz`, a web page, and a full house."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        origins, hosts = request.headers.get_all("Origin"), request.headers.get_all("Host")
        origin, host = (", ".join(values) or None for values in (origins, hosts))
        if not is_allowed(origin, host, self.allowed_origins):  # no page may reach a policy on its visitor's machine
            logger.warning("connection refused: Origin %.200r is not allowed; --allow-origin %.200s", origin, origin)
            return connection.respond(http.HTTPStatus.FORBIDDEN, "this Origin is not allowed\n")
        if self._open >= self.max_connections:
            logger.warning("connection refused: %d are open", self._open)
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        """One client, from metadata to goodbye."""
        peer = connection.remote_address
        self._open += 1
        logger.info("%s connected", peer)
        try:
            await connection.send(self._metadata)
            await self._answer_all(connection)
        except ConnectionClosed as closed:
            logger.info("%s disconnected: %s", peer, closed)
        except Exception:
            logger.exception("inference for %s failed", peer)
            await connection.send("the server failed on this observation; its log says why")
            await connection.close(CloseCode.INTERNAL_ERROR, "inference failed")
        finally:
            self._open -= 1

    async def _answer_all(self, connection: ServerConnection) -> None:
        number, total_ms = 0, None
        while True:
            data = await connection.recv()
            start = time.perf_counter()
            try:
                answer = await self._answer(data, number)
            except MessageError as error:
                logger.warning("%s: %s", connection.remote_address, error)
                await connection.send(f"invalid observation: {error}")
                continue
            if total_ms is not None:
                answer["server_timing"]["prev_total_ms"] = total_ms
            await connection.send(encode(answer))
            number, total_ms = number + 1, _milliseconds_since(start)

    async def _answer(self, data: bytes | str, number: int) -> dict[str, Any]:
        """The answer to the connection's valid request `number`. Raises MessageError for an invalid one."""
        if isinstance(data, str):
            raise MessageError("got a text frame; an observation is a binary frame")
        request = self.inference.read(decode(data))
        asked = time.perf_counter()

        def timed() -> tuple[np.ndarray, dict[str, float]]:
            queue_ms, start = _milliseconds_since(asked), time.perf_counter()
            actions = self.inference.run(request, number)
            return actions, {"infer_ms": _milliseconds_since(start), "queue_ms": queue_ms}

        actions, timing = await self._in_thread(timed)
        return {"actions": actions, "server_timing": timing}

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _milliseconds_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


def _port_of(server: Server) -> int:
    return next(iter(server.sockets)).getsockname()[1]
