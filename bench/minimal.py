"""The minimal asyncio loop, a baseline: `python -m bench.minimal PORT SUBSCRIBER_PORT`.

A POST comes in, is answered with 202, and goes out to the subscriber's path of the same name over
one of a hundred connections. Protocols over httptools on uvloop, as the mesh has them, without all
else: nothing is checked, stored, matched, counted or tried again.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import Final, cast

import httptools
import uvloop

_CONNECTIONS: Final = 100
_ACCEPTED: Final = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"


class Forward:
    """The way out: what waits, and the connections that have nothing to do."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.idle: list[Outgoing] = []

    def put(self, request: bytes) -> None:
        if self.idle:
            self.idle.pop().send(request)
        else:
            self.waiting.append(request)

    def ready(self, connection: Outgoing) -> None:
        if self.waiting:
            connection.send(self.waiting.popleft())
        else:
            self.idle.append(connection)


class Outgoing(asyncio.Protocol):
    """A connection to the subscriber: one request at a time."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._forward.ready(self)

    def send(self, request: bytes) -> None:
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._forward.ready(self)


class Incoming(asyncio.Protocol):
    """A connection from the load generator."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._parser = httptools.HttpRequestParser(self)
        self._lines: list[bytes] = []
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._lines = [b"POST " + url + b" HTTP/1.1"]
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines.append(name + b": " + value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._transport.write(_ACCEPTED)
        self._forward.put(b"\r\n".join([*self._lines, b"", b"".join(self._body)]))


async def serve(port: int, subscriber: int) -> None:
    """Serve until the process ends."""
    loop = asyncio.get_running_loop()
    forward = Forward()
    for _ in range(_CONNECTIONS):
        await loop.create_connection(lambda: Outgoing(forward), "127.0.0.1", subscriber)
    server = await loop.create_server(lambda: Incoming(forward), "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
