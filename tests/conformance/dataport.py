"""A data port on a real socket: the ingress on uvicorn, as the mesh runs it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from http.client import HTTPResponse
from typing import Any, NamedTuple

import uvicorn
import uvloop

from broker.app.serving import configured
from broker.callbacks import Callbacks
from broker.event import Event
from broker.ingress import Door, Entrance, ingress
from broker.ports import Emit, Reason
from broker.trigger import Access, Broker
from tests.watching import Noting

DEADLINE = 30.0

WAYS = ("futures", "coroutines", "asgi")
"""The ways that events come in by: straight off the parser into a channel that has futures (the
embedded one, the one in memory) or has not; and through the ASGI application alone."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(self.body)
        return document


class DataPort:
    """The server, what it stored, and whom it refused. ``emit`` may be exchanged by a test.

    See `WAYS` for the way that events come in by.
    """

    def __init__(
        self, brokers: Mapping[str, Access | None], *, way: str = "futures", **limits: int
    ) -> None:
        self.watch = Noting()
        self.reset()
        self.brokers = dict(brokers)
        self._way = way
        self.callbacks = Callbacks()
        limits = {"max_event_bytes": 1 << 20, "max_pending_bytes": 8 << 20, **limits}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        door = Door(
            self._find,
            clients=lambda: [access for access in self.brokers.values() if access],
            max_event_bytes=limits["max_event_bytes"],
            max_pending_bytes=limits["max_pending_bytes"],
            watch=self.watch,
        )
        app = ingress(door, callbacks=self.callbacks)
        config = configured(app, linger=timedelta(seconds=5), door=None if way == "asgi" else door)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: uvloop.run(self._server.serve([self._socket])), daemon=True
        )

    @property
    def refused(self) -> list[tuple[str | None, int, Reason]]:
        return self.watch.refusals

    def reset(self) -> None:
        """Forget what happened, and store again what comes."""
        self.stored: list[Event] = []
        self.watch.refusals.clear()
        self.watch.stored.clear()
        self.emit: Emit = self.store

    @contextmanager
    def running(self) -> Iterator[DataPort]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.should_exit = True
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive(), "the server does not stop"

    def connect(self) -> socket.socket:
        # What the port's backlog has taken, the server will serve, so there is no need to wait.
        return socket.create_connection(self.address, timeout=DEADLINE)

    def exchange(self, request: bytes, *, method: str = "POST") -> Answer:
        """Send these very bytes, and return what comes back."""
        with self.connect() as connection:
            connection.sendall(request)
            return answer_on(connection, method=method)

    def request(
        self,
        headers: Sequence[tuple[str, str]],
        body: bytes = b"",
        *,
        method: str = "POST",
        path: str = "/default/orders",
    ) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        head = "\r\n".join([*lines, "", ""]).encode()
        return self.exchange(head + body, method=method)

    def _find(self, key: str) -> Entrance | None:
        if key not in self.brokers:
            return None
        broker = Broker(key=key, access=self.brokers[key])
        return Entrance(broker=broker, emit=self._emit)

    def _emit(self, events: Sequence[Event]) -> Awaitable[None]:
        storing = self.emit(events)
        return asyncio.ensure_future(storing) if self._way == "futures" else storing

    async def store(self, events: Sequence[Event]) -> None:
        self.stored += events


def answer_on(connection: socket.socket, *, method: str = "POST") -> Answer:
    """Return the next response on this connection."""
    with closing(HTTPResponse(connection, method=method)) as response:
        response.begin()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())


class Gate:
    """An emit that holds events until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def emit(self, events: Sequence[Event]) -> None:
        self._loop = asyncio.get_running_loop()
        self.entered.set()
        await self._open.wait()

    def open(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._open.set)
