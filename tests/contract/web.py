"""Servers on loopback that a HttpPollerSource asks, and that a WebSocketSource listens to."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.typing import Subprotocol

from broker.event import Event
from cemesh.testing import RunningSource, running
from sources.httppoller import HttpPollerSource, HttpPollerSpec
from sources.websocket import WebSocketSource, WebSocketSpec
from tests.services.mesh import free_port
from tests.services.subscribers import Answer, Request, Subscriber, reply

JSON = {"Content-Type": "application/json"}


def poll(
    url: str, *, name: str = "orders", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    """Run a source that asks every 20 ms unless told otherwise."""
    asked = HttpPollerSpec.model_validate({"url": url, "interval": "PT0.02S", **spec})
    return running(HttpPollerSource, asked, name=name)


def listed(*numbers: int) -> bytes:
    return json.dumps({"data": {"list": [{"id": number} for number in numbers]}}).encode()


def with_etag(body: Callable[[], bytes]) -> Callable[[Request], Answer]:
    """Answer with a body, as servers do that know by a tag which one the client has."""

    def answer(request: Request) -> Answer:
        now = body()
        tag = f'"{hash(now)}"'
        if request.header("If-None-Match") == tag:
            return reply(304, {"ETag": tag})
        return reply(200, {**JSON, "ETag": tag}, now)

    return answer


class ElementsOfAList:
    """A list behind HTTP that gets an element for each thing."""

    def __init__(self, server: Subscriber) -> None:
        self._numbers: list[int] = []
        url = server.answers("/list", with_etag(lambda: listed(*self._numbers)))
        self.source: object = HttpPollerSource
        self.spec: object = HttpPollerSpec.model_validate(
            {"url": url, "interval": "PT0.02S", "items": "data.list", "itemId": "id"}
        )

    async def bring(self, number: int) -> None:
        self._numbers.append(number)

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["id"])


class WebSocketServer:
    """A server on a free port that sends to whom is connected, and keeps what nobody gets.

    One that ``repeats`` begins with what it has sent last. ``heard`` has what clients have sent,
    ``headers`` those of their handshakes.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        subprotocols: Sequence[str] = (),
        repeats: bool = False,
        answer: Callable[[ServerConnection, Handshake], Response | None] | None = None,
    ) -> None:
        self.heard: list[str | bytes] = []
        self.headers: list[Headers] = []
        self.connections: list[ServerConnection] = []
        self.port = free_port()
        self._tls = tls
        self._subprotocols = [Subprotocol(each) for each in subprotocols]
        self._answer = answer
        self._repeats = repeats
        self._kept: list[str | bytes] = []
        self._last: list[str | bytes] = []
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await serve(
            self._converse,
            "127.0.0.1",
            self.port,
            ssl=self._tls,
            subprotocols=self._subprotocols or None,
            process_request=self._asked,
        )

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self.port}/feed"

    async def send(self, *messages: str | bytes) -> None:
        """Send the messages to the client, or keep them for the next one."""
        self._kept += messages
        for connection in self.connections[-1:]:
            await self._hand_over(connection)

    async def _hand_over(self, connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while self._kept:
                await connection.send(self._kept[0])
                self._last = [self._kept.pop(0)]

    def _asked(self, connection: ServerConnection, request: Handshake) -> Response | None:
        self.headers.append(request.headers)
        return None if self._answer is None else self._answer(connection, request)

    async def _converse(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        if self._repeats:
            self._kept[:0] = self._last
        await self._hand_over(connection)
        with suppress(ConnectionClosed):
            async for message in connection:
                self.heard.append(message)


def listen(
    server: WebSocketServer, *, name: str = "ticks", **spec: object
) -> AbstractAsyncContextManager[RunningSource]:
    asked = WebSocketSpec.model_validate({"url": server.url, **spec})
    return running(WebSocketSource, asked, name=name)


class MessagesOfAServer:
    """A server that sends a message for each thing, and keeps what it could send nobody."""

    def __init__(self, server: WebSocketServer) -> None:
        self._server = server
        self.source: object = WebSocketSource
        self.spec: object = WebSocketSpec.model_validate({"url": server.url, "idFrom": "n"})

    async def bring(self, number: int) -> None:
        await self._server.send(json.dumps({"n": number}))

    def number_of(self, event: Event) -> int:
        return int(json.loads(event.data or b"")["n"])
