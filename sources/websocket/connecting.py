"""Connections to a WebSocket server: how they are made, and in words why they are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.frames import Close
from websockets.typing import Subprotocol
from yarl import URL

from broker.connections import faults, web
from sources.websocket.messages import Message
from sources.websocket.spec import WebSocketSpec

_OPENS_WITHIN: Final = 10.0
_CLOSES_WITHIN: Final = 2.0

_TOO_BIG: Final = 1009


class Silent(Exception):
    """The server is there no more, as far as one can tell."""


class Redirected(Exception):
    """The server leads to another one."""


FAULTS: Final = (WebSocketException, OSError, Silent, Redirected)
"""What is raised where the server is away, or does not let us in."""


@asynccontextmanager
async def connected(spec: WebSocketSpec) -> AsyncIterator[ClientConnection]:
    """Yield a connection, on which everything that is subscribed to was asked for.

    Raises `FAULTS`.
    """
    url = URL(spec.url)
    tls = await asyncio.to_thread(spec.tls_context) if spec.secure else None
    opening = connect(
        spec.url,
        # Said beside the URL, they have websockets follow no redirect to another server, which
        # would get the headers too.
        host=url.raw_host,
        port=url.port,
        ssl=tls,
        proxy=None,
        additional_headers=[*spec.said_headers()],
        user_agent_header="cemesh",
        subprotocols=[Subprotocol(each) for each in spec.subprotocols] or None,
        open_timeout=_OPENS_WITHIN,
        close_timeout=_CLOSES_WITHIN,
        # While the broker's store is away nothing is read, no pong either, and its own pings
        # would end the connection. `received` asks only where something could come.
        ping_interval=None,
        max_size=spec.max_message_bytes,
    )
    try:
        connection = await opening
    except ValueError as error:
        if isinstance(error.__cause__, InvalidStatus):
            raise Redirected from error
        raise
    try:
        for text in spec.subscribe:
            await connection.send(text.get_secret_value())
        yield connection
    finally:
        await connection.close()


async def received(connection: ClientConnection, *, silent: timedelta) -> Message:
    """Return the next message. Raises `Silent` where nothing comes for twice so long, and no pong.

    After each time without a message the server is asked whether it is there.
    """
    pong: Awaitable[float] | None = None
    while True:
        try:
            async with asyncio.timeout(silent.total_seconds()):
                return await connection.recv()
        except TimeoutError:
            if pong is not None and not asyncio.ensure_future(pong).done():
                raise Silent from None
            pong = await connection.ping()


def said(error: BaseException, spec: WebSocketSpec) -> str:
    """Return in words what the server or the network told, and where to look, if that is known."""
    match error:
        case InvalidStatus():
            return web.phrase(error.response.status_code)
        case ConnectionClosed(sent=Close(code=code)) if code == _TOO_BIG:
            return f"it sent a message longer than maxMessageBytes, {spec.max_message_bytes:,}"
        case ConnectionClosed(rcvd=Close() as told):
            return f"it closed the connection: {told}"
        case ConnectionClosed():
            return "the connection broke"
        case InvalidHandshake():
            return f"it does not answer as a WebSocket server: {error}"
        case Silent():
            return f"it answers no ping within {spec.ping.total_seconds():g} s"
        case Redirected():
            return "it redirects to another server; let 'url' lead there"
    return faults.said(error)
