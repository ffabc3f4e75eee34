"""An HTTP/1.1 client for events: it sends what it is given, and adds nothing.

General clients add headers by themselves. A Content-Type among them would change the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, Literal, Self

from broker.codecs.http import written
from broker.policy import Timeouts
from sinks.http.address import Address, Origin, Route, parse
from sinks.http.connection import Connection
from sinks.http.dial import Dial
from sinks.http.names import Names
from sinks.http.prompt import Came, Prompt
from sinks.http.reader import NoAnswer, Response

Headers = Sequence[tuple[bytes, bytes]]
Method = Literal["POST", "PUT", "PATCH", "OPTIONS"]
Done = Callable[[Came], None]

_MAX_IDLE: Final = 100
"""Idle connections that are kept for one origin. Those in use are bounded by their users."""

_IDLE_TIME: Final = timedelta(seconds=30)
"""How long an idle connection is kept, at least; at most twice as long."""


class HttpClient:
    """Sends requests, over connections that are kept alive while it is entered."""

    def __init__(self) -> None:
        self._names = Names()
        self._connections: set[Connection] = set()
        # By origin, the connections at rest with the time they came to rest, oldest first.
        self._idle: dict[Origin, dict[Connection, float]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._names.__exit__()
        if self._sweep is not None:
            self._sweep.cancel()
        open_connections = list(self._connections)
        for connection in open_connections:
            connection.close()
        for connection in open_connections:
            await connection.closed

    async def request(
        self,
        method: Method,
        url: str,
        headers: Headers = (),
        body: bytes = b"",
        *,
        timeout: timedelta,  # noqa: ASYNC109 - one deadline for lookup, connection and answer
        timeouts: Timeouts | None = None,
        route: Route = Route(),
    ) -> Response:
        """Send one request and return its answer, whatever its status; follow no redirect.

        ``Host`` and ``Content-Length`` are added, nothing else is. ``timeout`` covers all of
        it, from looking up the name to the last byte of the answer, ``timeouts`` parts of it.
        Connections lead only where
        the network of ``route`` lets them. Raises `NoAnswer`, or `InvalidUrl`.

        A kept connection that the peer closes before it answers is replaced once by a fresh
        one: it says nothing about the peer but that it does not keep connections for ever.
        """
        address = parse(url, route)
        head = whole_head(begun_head(method, address, ()), headers, len(body), method)
        began = asyncio.get_running_loop().time()
        kept = self._take(address.origin)
        return await self._send(kept, address.origin, head, body, began, timeout, timeouts)

    def has_one_at_rest(self, origin: Origin) -> bool:
        """Return whether `begin` will find a connection."""
        return bool(self._idle.get(origin))

    def begin(
        self, address: Address, head: bytes, body: bytes, within: timedelta, done: Done
    ) -> Prompt | None:
        """Send a request over a connection at rest, or return None if there is none.

        ``head`` is all of it. ``done`` is told what came of it: see `Prompt`. Where that is None,
        `send_anew` is to be called.
        """
        connection = self._take(address.origin)
        if connection is None:
            return None
        seconds = within.total_seconds()
        return Prompt(connection, address.origin, head, body, seconds, keep=self._keep, done=done)

    async def send_anew(
        self, address: Address, head: bytes, body: bytes, within: timedelta, *, began: float
    ) -> Response:
        """Send a request over a fresh connection, as `request` does when a kept one was closed.

        Its time runs since it was begun, by the loop's clock. Raises `NoAnswer`.
        """
        return await self._send(None, address.origin, head, body, began, within, None)

    async def _send(
        self,
        kept: Connection | None,
        origin: Origin,
        head: bytes,
        body: bytes,
        began: float,
        within: timedelta,
        timeouts: Timeouts | None,
    ) -> Response:
        at: Connection | Dial | None = kept
        try:
            async with asyncio.timeout_at(began + within.total_seconds()):
                if kept is not None:
                    try:
                        return await self._exchange(kept, origin, head, body, timeouts)
                    except NoAnswer:
                        if kept.heard or kept.gave_up:
                            raise
                at = dial = Dial(self._names, origin, partial(self._forget, origin))
                at = connection = await _connected(dial, within, timeouts)
                if not connection.closed.done():
                    self._connections.add(connection)
                return await self._exchange(connection, origin, head, body, timeouts)
        except TimeoutError:
            stage = f": {at.stage}" if at is not None else ""
            raise NoAnswer(f"no answer within {within.total_seconds():g} s{stage}") from None

    async def _exchange(
        self,
        connection: Connection,
        origin: Origin,
        head: bytes,
        body: bytes,
        timeouts: Timeouts | None,
    ) -> Response:
        response = await connection.exchange(head, body, timeouts)
        if connection.reusable:
            self._keep(connection, origin)
        return response

    def _take(self, origin: Origin) -> Connection | None:
        """Return the connection that came to rest last, the likeliest to be alive still."""
        idle = self._idle.get(origin)
        if not idle:
            return None
        connection, _ = idle.popitem()
        return connection

    def _keep(self, connection: Connection, origin: Origin) -> None:
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(origin, {})
        if len(idle) >= _MAX_IDLE:
            connection.close()
            return
        idle[connection] = loop.time()
        if self._sweep is None:
            self._sweep = loop.call_later(_IDLE_TIME.total_seconds(), self._close_the_rested)

    def _close_the_rested(self) -> None:
        loop = asyncio.get_running_loop()
        rested_since = loop.time() - _IDLE_TIME.total_seconds()
        for idle in self._idle.values():
            for connection in [each for each, since in idle.items() if since <= rested_since]:
                del idle[connection]
                connection.close()
        self._idle = {origin: idle for origin, idle in self._idle.items() if idle}
        self._sweep = None
        if self._idle:
            self._sweep = loop.call_later(_IDLE_TIME.total_seconds(), self._close_the_rested)

    def _forget(self, origin: Origin, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.get(origin, {}).pop(connection, None)


async def _connected(dial: Dial, within: timedelta, timeouts: Timeouts | None) -> Connection:
    if timeouts is None or timeouts.connect is None or timeouts.connect >= within:
        return await dial.connect(within)
    try:
        async with asyncio.timeout(timeouts.connect.total_seconds()):
            return await dial.connect(timeouts.connect)
    except TimeoutError:
        seconds = timeouts.connect.total_seconds()
        raise NoAnswer(f"no connection within {seconds:g} s: {dial.stage}") from None


def begun_head(method: Method, address: Address, headers: Headers) -> bytes:
    """Return the head of a request as far as these headers, ``Host`` before them."""
    line = b"%s %s HTTP/1.1" % (method.encode(), address.target)
    return line + written([(b"Host", address.authority), *headers])


def whole_head(begun: bytes, headers: Headers, size: int, method: Method = "POST") -> bytes:
    """Return a head that was begun, with more headers, ``Content-Length`` among them."""
    length = [(b"Content-Length", b"%d" % size)] if size or method == "POST" else []
    return begun + written([*headers, *length]) + b"\r\n\r\n"
