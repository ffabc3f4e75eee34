"""One connection to one origin: sends a request, then reads its answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Final, cast

from broker.policy import Timeouts
from sinks.http.bounds import Bounds
from sinks.http.reader import NoAnswer, Response, ResponseReader
from sinks.http.tls import tls_failure

# Longer bodies are written after their head, shorter ones with it: one segment, one call.
_JOINED: Final = 64 * 1024


class Connection(asyncio.Protocol):
    """Carries one exchange at a time; requests are not pipelined."""

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self.closed: Final[asyncio.Future[None]] = asyncio.get_running_loop().create_future()
        self._on_lost = on_lost
        self._reader = ResponseReader()
        self._answer: asyncio.Future[Response] | None = None
        self._transport: asyncio.Transport | None = None
        self._bounds: Bounds | None = None
        self.gave_up = False
        """Whether the last exchange was ended here, as a part of it took too long."""
        self.stage = "waiting for the answer"
        """How far an exchange had come when it was cancelled, in words."""

    @property
    def heard(self) -> bool:
        """Whether any byte of an answer came during the last exchange."""
        return self._reader.heard

    @property
    def reusable(self) -> bool:
        """Whether another exchange may follow the last one."""
        return (
            self._reader.reusable
            and self._transport is not None
            and not self._transport.is_closing()
            # What was answered before it was sent in full would run into the next request.
            and self._transport.get_write_buffer_size() == 0
        )

    async def exchange(self, head: bytes, body: bytes, timeouts: Timeouts | None) -> Response:
        """Send a request and return its answer, which may come before all is sent.

        Raises `NoAnswer`. Unless the connection stays reusable, it is closed afterwards.
        """
        if timeouts is not None:
            self._bounds = Bounds(timeouts, is_sent=self._is_sent, fail=self._fail)
        try:
            return await self.start(head, body)
        except asyncio.CancelledError:
            self.stage = self._stage(len(head) + len(body))
            raise
        finally:
            self.finish()

    def start(self, head: bytes, body: bytes) -> asyncio.Future[Response]:
        """Send a request. The future gets its answer, or `NoAnswer`; then `finish` is to follow."""
        self._reader.expect()
        self._answer = answer = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            answer.set_exception(NoAnswer("the connection was closed before the answer"))
        elif len(body) < _JOINED:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        return answer

    def finish(self) -> None:
        """End the exchange, however far it came: the connection is closed unless it is reusable."""
        self._answer = None
        if self._bounds is not None:
            self._bounds.end()
            self._bounds = None
        if not self.reusable:
            self.close()

    def give_up(self, seconds: float, size: int) -> None:
        """End waiting for the answer to a request of so many bytes, after so many seconds."""
        self._fail(f"no answer within {seconds:g} s: {self._stage(size)}")

    def secure(self, transport: asyncio.Transport | None) -> None:
        """Go on over ``transport``, which TLS was started on."""
        if not self.closed.done():
            self._transport = transport

    def close(self) -> None:
        """Close at once: nothing of value is on the way."""
        if self._transport is not None:
            self._transport.abort()

    def _is_sent(self) -> bool:
        return self._transport is None or self._transport.get_write_buffer_size() == 0

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self.gave_up = True
            self._answer.set_exception(NoAnswer(why))

    def _stage(self, size: int) -> str:
        if self._reader.heard:
            return self._reader.stage
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        if unsent == 0:
            return "waiting for the answer"
        # Of TLS, what is unsent has grown by its records.
        return f"sending the request ({max(size - unsent, 0):,} of {size:,} bytes are written)"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # what create_connection makes

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # the peer talks out of turn
            return
        if self._bounds is not None:
            self._bounds.begun()
        try:
            response = self._reader.feed(data)
        except NoAnswer as error:
            self._answer.set_exception(error)
        else:
            if response is not None:
                self._answer.set_result(response)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._end_answer(self._answer, exc)
        if not self.closed.done():
            self.closed.set_result(None)
        self._on_lost(self)

    def _end_answer(self, answer: asyncio.Future[Response], exc: Exception | None) -> None:
        try:
            if isinstance(exc, ssl.SSLError):
                raise NoAnswer(tls_failure(exc))
            if exc is not None:
                raise NoAnswer(f"the connection broke: {getattr(exc, 'strerror', None) or exc}")
            answer.set_result(self._reader.end())
        except NoAnswer as error:
            answer.set_exception(error)
