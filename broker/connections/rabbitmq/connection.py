"""A connection as aiormq makes it, which tells more: why it was refused, silent or blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import aiormq
from aiormq import spec
from aiormq.connection import (
    FrameReceiver,
    ReceivedFrame,
    TCPTransportFactory,
    TLSTransportFactory,
)
from pamqp.base import Frame
from yarl import URL

from broker.connections.rabbitmq.incoming import Incoming

_SHUTDOWN_WITHIN: Final = 1.0


class Connection(aiormq.Connection):
    """A connection that gives up a server gone silent, and tells what becomes of it.

    ``on_lost`` is told why it is closed, before anybody who waits for an answer by it.
    ``blocked`` is the alarm for which the server reads nothing from it now, or None. The server
    says so to those that publish, and not before they try to.
    """

    # A server speaks up twice in each interval of heartbeats; aiormq looks as often, whether
    # nothing came for this many intervals and a second each.
    HEARTBEAT_GRACE_MULTIPLIER = 1

    def __init__(self, url: str, *, encrypted: bool, **options: Any) -> None:  # noqa: ANN401 - aiormq's own
        if encrypted:
            # Or closing would wait half a minute for a server that is gone.
            options["ssl_shutdown_timeout"] = _SHUTDOWN_WITHIN
        self._transport = _Transport(encrypted=encrypted)
        super().__init__(url, transport_factory=self._transport, **options)
        self.on_lost: Callable[[BaseException], None] | None = None
        self.blocked: str | None = None

    async def close(
        self,
        exc: BaseException | type[BaseException] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - aiormq's own
    ) -> None:
        # All who wait for an answer are thrown this, and aiormq cancels them by it where it has
        # ended reading by itself.
        if isinstance(exc, asyncio.CancelledError):
            exc = TimeoutError("it has been silent for too long")
        elif not isinstance(exc, BaseException):
            exc = aiormq.AMQPConnectionError("the connection was closed")
        if self.on_lost is not None:
            self.on_lost(exc)
        await super().close(exc, timeout)

    def abort(self) -> None:
        """Drop the connection without a word, and what is still to be written."""
        self._transport.abort()

    @staticmethod
    async def _rpc(
        request: Frame,
        writer: asyncio.StreamWriter,
        frame_receiver: FrameReceiver,
        wait_response: bool = True,  # noqa: FBT001, FBT002 - aiormq's own
    ) -> Any:  # noqa: ANN401 - aiormq's own
        answers = _Answers(frame_receiver)
        return await aiormq.Connection._rpc(request, writer, answers, wait_response)

    async def _Connection__reader(self, frame_receiver: FrameReceiver) -> None:  # noqa: N802
        incoming = Incoming(frame_receiver.reader, self.channels)
        await super()._Connection__reader(incoming)  # type: ignore[misc] # mypy mangles no names

    # aiormq handles both frames in methods of its own, and tells nobody.

    async def _Connection__handle_connection_blocked(self, frame: spec.Connection.Blocked) -> None:  # noqa: N802
        self.blocked = frame.reason or "an alarm"

    async def _Connection__handle_connection_unblocked(self, _: spec.Connection.Unblocked) -> None:  # noqa: N802
        self.blocked = None


class _Transport(aiormq.TransportFactory):
    """Connects as aiormq does. It drops nothing by itself that the server does not read."""

    def __init__(self, *, encrypted: bool) -> None:
        self._factory = TLSTransportFactory() if encrypted else TCPTransportFactory()
        self._writer: asyncio.StreamWriter | None = None

    async def create(
        self,
        url: URL,
        **options: Any,  # noqa: ANN401 - aiormq's own
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self._writer = await self._factory.create(url, **options)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Answers(FrameReceiver):
    """What the server answers while a connection is opened.

    That it closes it, aiormq would tell as an answer that was not expected, without the reason.
    """

    def __init__(self, receiver: FrameReceiver) -> None:
        self._receiver = receiver

    async def get_frame(self) -> ReceivedFrame:
        received = await self._receiver.get_frame()
        frame = received[2]
        if isinstance(frame, spec.Connection.Close):
            raise aiormq.ConnectionClosed(frame.reply_code, frame.reply_text)
        return received
