"""An event request, whoever reads it: from its head to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from time import monotonic
from typing import ClassVar, Final, Protocol

from broker.event import Event
from broker.ingress import Door, Entrance
from broker.ingress.door import sent_by
from broker.ports import Origin
from broker.tracecontext import of_raw_headers

Header = tuple[bytes, bytes]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """What a request asks of the connection that it came by."""

    transport: asyncio.Transport
    origin: Origin

    def accept(self, taking: Taking) -> None:
        """Answer that the events are durable."""
        ...

    def refuse(self, taking: Taking, error: BaseException) -> None:
        """Answer what went wrong."""
        ...

    def spawn(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Run this in a task for which the server waits when it stops."""
        ...


class Taking:
    """One request.

    To uvicorn it is a cycle like its own: that is what the attributes are called by.
    """

    __slots__ = (
        "_begun",
        "_body",
        "_connection",
        "_door",
        "_events",
        "_held",
        "_more_body",
        "_origin",
        "began",
        "disconnected",
        "entrance",
        "expects",
        "headers",
        "keep_alive",
        "response_complete",
    )

    message_event: ClassVar[asyncio.Event] = asyncio.Event()  # nobody waits for it

    def __init__(self, connection: Connection, door: Door, entrance: Entrance) -> None:
        self.entrance = entrance
        self.headers: Sequence[Header] = ()
        self.expects = False
        self.keep_alive = True
        self.response_complete = False
        self.disconnected = False
        self._connection = connection
        self._door = door
        self._begun = False
        self.began = monotonic()
        self._events: Sequence[Event] = ()
        self._origin = connection.origin
        self._body: bytes | bytearray = b""
        self._held = 0
        self._more_body = True

    def take(self, attributes: Mapping[str, str], body: bytes) -> None:
        """Take the events of a request that came whole."""
        self._more_body = False
        size = len(body)
        try:
            self._door.intake.hold(0, size)
            self._held = size
            events = self._door.told(attributes, body)
        except Exception as error:  # noqa: BLE001  # the door logs what is not for the client
            self._refuse(error)
        else:
            self._store(events)

    def begin(self) -> None:
        """Judge the head. To be called once all requests before it are answered."""
        transport = self._connection.transport
        if transport.is_closing():
            return
        self._begun = True
        try:
            sender = self._door.check(self.entrance, self.headers)
            if sender is not None:
                self._origin = sent_by(self._origin.who, sender)
            if self._body:
                self._hold(len(self._body))
        except Exception as error:  # noqa: BLE001  # the door logs what is not for the client
            self._refuse(error)
            return
        if self.expects:
            transport.write(_CONTINUE)
        if not self._more_body:
            self._take_body()

    def feed(self, chunk: bytes) -> None:
        """Take in a part of the body."""
        if self.response_complete:
            return
        if self._begun:
            try:
                self._hold(len(chunk))
            except Exception as error:  # noqa: BLE001  # as above
                self._refuse(error)
                return
        if not self._body:
            self._body = chunk
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += chunk

    def end(self) -> None:
        """Take the events, now that the body is whole."""
        self._more_body = False
        if self._begun and not self.response_complete:
            self._take_body()

    def leave(self) -> None:
        """Forget a request that its client will not finish."""
        if self._more_body:
            self._release()

    def _hold(self, more: int) -> None:
        self._door.intake.hold(self._held, more)
        self._held += more

    def _release(self) -> None:
        self._door.intake.release(self._held)
        self._held = 0

    def _take_body(self) -> None:
        try:
            events = self._door.events(self.headers, bytes(self._body))
        except Exception as error:  # noqa: BLE001  # as above
            self._refuse(error)
        else:
            self._store(events)

    def _store(self, events: Sequence[Event]) -> None:
        if not events:
            self._accept()
            return
        tracer = self._door.tracer
        if tracer is not None:
            parent = of_raw_headers(self.headers)
            events, self._origin = tracer.arrive(events, self._origin, parent=parent)
        self._events = events
        try:
            storing = self.entrance.emit(events)
        except Exception as error:  # noqa: BLE001  # as above
            self._refuse(error)
            return
        if not isinstance(storing, asyncio.Future):
            storing = self._connection.spawn(storing)
        if storing.done():
            self._settle(storing)
        else:
            storing.add_done_callback(self._settle)

    def _settle(self, stored: asyncio.Future[None]) -> None:
        error = asyncio.CancelledError() if stored.cancelled() else stored.exception()
        if error is None:
            try:
                self._door.accepted(self.entrance, self._events, self._origin, self.began)
            finally:  # it is stored, whatever those who watch make of it
                self._accept()
        else:
            self._refuse(error)

    def _accept(self) -> None:
        self._door.intake.release(self._held)
        self._held = 0
        self._connection.accept(self)

    def _refuse(self, error: BaseException) -> None:
        self._release()
        self._connection.refuse(self, error)
