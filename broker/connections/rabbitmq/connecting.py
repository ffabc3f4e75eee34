"""Connections to RabbitMQ: opened, closed within bounds, and why there are none.

What aiormq and the network tell is put into words, with what to look at.
"""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import aiormq

from broker.connections import faults
from broker.connections.rabbitmq.connection import Connection
from broker.connections.rabbitmq.server import Server
from broker.errors import ChannelUnavailable

HEARTBEAT: Final = timedelta(seconds=10)
"""The interval of heartbeats: what is silent is given up after 11 to 16 s, by a server after 20."""

LEAST_FRAME: Final = 64 << 10
"""Bytes that a frame must be able to take, as all the headers of a message are in one."""

# Less than the heartbeat allows: aiormq counts a silence from before it has connected.
_CONNECTED_WITHIN: Final = 10.0
_CLOSED_WITHIN: Final = 2.0

_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530  # AMQP 0-9-1, reply codes


async def connect(
    settings: Server, purpose: str, *, heartbeat: timedelta = HEARTBEAT
) -> Connection:
    """Return an open connection, which the server lists as ``cemesh PURPOSE of HOST``.

    Raises `ChannelUnavailable`, after 12 s at most, that says what is wrong and where to look.
    ``heartbeat`` is in whole seconds.
    """
    try:
        connection = await _opened(settings, purpose, heartbeat)
    except (aiormq.AMQPError, OSError, ValueError) as error:  # the last: no name of a host
        task = asyncio.current_task()
        if task is not None and task.cancelling():  # aiormq may put its own error over that
            raise asyncio.CancelledError from error
        raise ChannelUnavailable(
            f"{at(settings)} cannot be used: {_refusal(error, settings)}"
        ) from error
    frame = connection.connection_tune.frame_max
    if 0 < frame < LEAST_FRAME:
        await close(connection)
        raise ChannelUnavailable(
            f"{at(settings)} cannot be used: it takes frames of up to {frame:,} bytes, and the "
            f"headers of an event may need {LEAST_FRAME:,}; is 'frame_max' set on the server?"
        )
    return connection


async def close(connection: Connection) -> None:
    """Close the connection, within 3 s, whether or not the server answers or reads.

    Whoever still waits for an answer by it gets `aiormq.AMQPConnectionError`.
    """
    # Cancelled, aiormq would still wait until all is written.
    timer = asyncio.get_running_loop().call_later(_CLOSED_WITHIN, connection.abort)
    try:
        await connection.close()
    finally:
        timer.cancel()


def at(settings: Server) -> str:
    """Return how errors call the server."""
    return f"RabbitMQ at {settings.server}"


@contextmanager
def reported(settings: Server) -> Iterator[None]:
    """Raise `ChannelUnavailable`, in words, for any error of aiormq, the network or time inside."""
    try:
        yield
    except (aiormq.AMQPError, aiormq.ChannelInvalidStateError, OSError, TimeoutError) as error:
        raise ChannelUnavailable(f"{at(settings)}: {said(error, settings)}") from error
    except asyncio.CancelledError as error:
        # aiormq ends whoever waits for a channel that is lost like that, now and then.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ChannelUnavailable(f"{at(settings)}: the connection is lost") from error


def said(error: BaseException, settings: Server) -> str:
    """Return in words what aiormq or the network told, and where to look, if that is known."""
    match error:
        case aiormq.ChannelInvalidStateError():
            return "the connection or the channel is lost"
        case aiormq.ChannelAccessRefused():
            return f"{_told(error)}; does {_who(settings)} have permissions for that?"
        case aiormq.ConnectionClosed():
            return f"it closed the connection: {_told(error)}"
        case aiormq.AMQPError(__cause__=OSError() | asyncio.IncompleteReadError() as cause):
            return _of_network(cause, settings)
        case aiormq.AMQPError():
            return _told(error)
    return _of_network(error, settings)


def _refusal(error: BaseException, settings: Server) -> str:
    """Return in words why a connection could not be opened, and where to look."""
    cause = error.__cause__
    match error:
        case TimeoutError():
            return f"no answer within {_CONNECTED_WITHIN:.0f} s"
        case aiormq.AuthenticationError(args=(str(offered), *_)):
            wanted = "PLAIN" if settings.user else "EXTERNAL"
            return (
                f"it lets clients in by {offered}, and not by {wanted}; is that among its "
                "'auth_mechanisms', and is the port one for TLS?"
            )
        case aiormq.ConnectionClosed(args=(int(code), _)) if code == _ACCESS_REFUSED:
            return _login_refused(settings)
        case aiormq.ConnectionClosed(args=(int(code), str(text))) if code == _NOT_ALLOWED:
            return (
                f"it does not let {_who(settings)} into the virtual host '{settings.vhost}': "
                f"{text}; is it there, and does the user have permissions in it?"
            )
        case aiormq.ProtocolSyntaxError():
            return "what answers there speaks no AMQP 0-9-1; is it RabbitMQ?"
    if isinstance(cause, (ConnectionError, asyncio.IncompleteReadError)) and not isinstance(
        cause, ConnectionRefusedError
    ):
        if settings.tls:
            asked = f"a certificate of the client ({settings.fields.pair})"
        else:
            asked = "TLS at that port (amqps://)"
        return f"it closed the connection at once; does it expect {asked}?"
    return said(error, settings)


def _login_refused(settings: Server) -> str:
    fields = settings.fields
    if settings.user is None:
        return f"it does not know the user that the certificate in {fields.certificate} names"
    local = ""
    if settings.user == "guest":
        local = " It may let 'guest' in from its own host alone"
    return (
        f"it does not let {_who(settings)} in; are the user and the password "
        f"({fields.login}) those that it knows?{local}"
    )


def _of_network(error: BaseException, settings: Server) -> str:
    match error:
        case asyncio.IncompleteReadError():
            return "the connection was closed"
        case TimeoutError(args=(str(words),)):  # as `Connection` says that it is silent
            return words
    fields = settings.fields
    return faults.said(error, authority=fields.authority, certificate=fields.certificate)


def _told(error: BaseException) -> str:
    """Return what the server said as it closed a connection or a channel."""
    texts = [each for each in error.args if isinstance(each, str)]
    return texts[-1] if texts else type(error).__name__


def _who(settings: Server) -> str:
    return f"the user '{settings.user}'" if settings.user else "the client of this certificate"


async def _opened(settings: Server, purpose: str, heartbeat: timedelta) -> Connection:
    options = await asyncio.to_thread(settings.client_options)
    url = options["url"]
    url += f"{'&' if '?' in url else '?'}heartbeat={round(heartbeat.total_seconds())}"
    name = f"cemesh {purpose} of {platform.node()}, process {os.getpid()}"
    connection = Connection(
        url,
        encrypted=settings.tls,
        context=options["ssl_context"],
        client_properties={"connection_name": name},
    )
    async with asyncio.timeout(_CONNECTED_WITHIN):
        await connection.connect()
    return connection
