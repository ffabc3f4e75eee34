"""Connections to RabbitMQ: opened, closed within bounds, and why there are none.

aiormq tells of what went wrong in its own words, or only that something ended.
"""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final

import aiormq
from aiormq import spec
from aiormq.connection import FrameReceiver, ReceivedFrame
from yarl import URL

from broker.channels.rabbitmq.settings import Settings
from broker.errors import ChannelUnavailable

HEARTBEAT: Final = timedelta(seconds=10)
"""How long the server may take to hear nothing; it speaks up twice as often."""

LEAST_FRAME: Final = 64 << 10
"""Bytes that a frame has to take: all headers of a message are in one."""

_CONNECTED_WITHIN: Final = 10.0
_CLOSED_WITHIN: Final = 2.0

# X509_V_ERR_…: self-signed, alone or in the chain, and an issuer that is not at hand.
_UNKNOWN_AUTHORITY: Final = frozenset({18, 19, 20, 21})
_REFUSED_LOGIN: Final = 403


class Connection(aiormq.Connection):
    """A connection that notices a server gone silent, and tells when and why it is blocked.

    ``blocked`` is the reason for which the server reads nothing from it, or None.
    """

    # What is silent is given up after this many heartbeats.
    HEARTBEAT_GRACE_MULTIPLIER = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - aiormq's own
        super().__init__(*args, **kwargs)
        self.blocked: str | None = None
        self.blocked_changed = asyncio.Event()

    async def close(
        self,
        exc: BaseException | type[BaseException] | None = asyncio.CancelledError,
        timeout: float | None = None,  # noqa: ASYNC109 - aiormq's own
    ) -> None:
        # Whoever waits for an answer would take a CancelledError for its own.
        if isinstance(exc, asyncio.CancelledError) or exc is asyncio.CancelledError:
            exc = aiormq.AMQPConnectionError("no sign of life from it")
        await super().close(exc, timeout)

    @staticmethod
    async def _rpc(
        request: Any,  # noqa: ANN401
        writer: asyncio.StreamWriter,
        frame_receiver: Any,  # noqa: ANN401
        wait_response: bool = True,  # noqa: FBT001, FBT002
    ) -> Any:  # noqa: ANN401
        return await aiormq.Connection._rpc(
            request, writer, _Opening(frame_receiver), wait_response=wait_response
        )

    async def _Connection__handle_connection_blocked(self, frame: spec.Connection.Blocked) -> None:  # noqa: N802
        self.blocked = frame.reason or "an alarm"
        self.blocked_changed.set()

    async def _Connection__handle_connection_unblocked(self, _: spec.Connection.Unblocked) -> None:  # noqa: N802
        self.blocked = None
        self.blocked_changed.set()


class _Opening(FrameReceiver):
    """Raises what the server says as it closes a connection that is being opened."""

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver

    async def get_frame(self) -> ReceivedFrame:
        received = await self._receiver.get_frame()
        frame = received[2]
        if isinstance(frame, spec.Connection.Close):
            raise aiormq.ConnectionClosed(frame.reply_code, frame.reply_text)
        return received


async def connect(
    settings: Settings, purpose: str, *, heartbeat: timedelta = HEARTBEAT
) -> Connection:
    """Return an open connection, which the server lists as ``cemesh PURPOSE of HOST``.

    Raises `ChannelUnavailable`, within about 10 s, with what is wrong and what to look at.
    """
    with reported(settings):
        options = await asyncio.to_thread(settings.client_options)
        url = URL(options["url"]).update_query(heartbeat=round(heartbeat.total_seconds()))
        connection = Connection(
            url,
            context=options["ssl_context"],
            client_properties={"connection_name": _name(purpose)},
        )
        try:
            async with asyncio.timeout(_CONNECTED_WITHIN):
                await connection.connect()
        except TimeoutError:
            raise
    frame = connection.connection_tune.frame_max or LEAST_FRAME
    if frame < LEAST_FRAME:
        await close(connection)
        raise ChannelUnavailable(
            f"{at(settings)} takes frames of {frame:,} bytes, and it takes {LEAST_FRAME:,} for the "
            "headers of a message: set frame_max of the server"
        )
    return connection


async def close(connection: aiormq.abc.AbstractConnection) -> None:
    """Close the connection, within about 2 s, whether or not the server answers."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CLOSED_WITHIN):
            await connection.close(aiormq.AMQPConnectionError("it is being closed"))


def at(settings: Settings) -> str:
    """Return how errors call the server."""
    return f"RabbitMQ at {settings.server}"


@contextmanager
def reported(settings: Settings) -> Iterator[None]:
    """Raise `ChannelUnavailable`, in words, for any error of aiormq, the network or time inside."""
    try:
        yield
    except (aiormq.AMQPError, aiormq.ChannelInvalidStateError, OSError, TimeoutError) as error:
        raise ChannelUnavailable(f"{at(settings)}: {said(error, settings)}") from error
    except asyncio.CancelledError as error:
        # aiormq may end whoever waits on a channel that is lost like that.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ChannelUnavailable(f"{at(settings)}: the connection is lost") from error


def said(error: BaseException, settings: Settings) -> str:
    """Return in words what aiormq or the network told, and where to look, if that is known."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiormq.ConnectionClosed(args=(code, text)) if code == _REFUSED_LOGIN:
            return f"{text}; {_who(settings)}"
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"TLS: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS: {cause.reason}"
    if isinstance(cause, socket.gaierror):
        return str(cause.strerror)
    if isinstance(cause, OSError) and cause.errno:
        return os.strerror(cause.errno)
    return ": ".join(str(each) for each in error.args if each) or type(error).__name__


def _who(settings: Settings) -> str:
    return f"as user '{settings.security.user}'"


def _name(purpose: str) -> str:
    return f"cemesh {purpose} of {platform.node()}, process {os.getpid()}"
