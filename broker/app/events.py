"""Takes events straight off the parser of uvicorn's protocol, and leaves it all other requests.

It answers as `broker.ingress.app` would, byte for byte, which the conformance suite holds; but
with no scope, no task and no messages between them. Processor time for an event of 1 KiB that is
checked and not stored, on one core of a busy machine: 34 µs, and 83 by the application; uvicorn
with an application that does nothing 45, nginx 11.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from broker.app.heads import Judge, Unusual, path_of, read, trace_headers
from broker.app.protocol import HttpProtocol
from broker.app.taking import Header, Taking
from broker.ingress import Door
from broker.ingress.door import sent_by

_NO_BODY: Final = ((b"content-length", b"0"),)


class EventProtocol(HttpProtocol):
    """A connection. Each event request on it is a `Taking`, every other one a cycle of uvicorn."""

    def __init__(self, *args: Any, door: Door, **kwargs: Any) -> None:  # noqa: ANN401 - uvicorn's
        super().__init__(*args, **kwargs)
        self._door = door
        self._taking: Taking | None = None  # the request that is being read, if it is an event
        self._stored: tuple[object, bytes] = (None, b"")
        self._resting_since: float | None = None
        self._within = False  # a request that the parser has begun to read
        self._judge = Judge()

    def data_received(self, data: bytes) -> None:
        rest = self._without_event(data)
        if rest:
            super().data_received(rest)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # narrower, as uvicorn's
        super().connection_made(transport)
        self.origin = sent_by("unknown" if self.client is None else self.client[0])

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        if self._taking is not None:
            self._taking.leave()

    # --- what is read in one go ------------------------------------------------------------

    def _without_event(self, data: bytes) -> bytes:
        """Take an ordinary event that stands whole at the beginning of ``data``.

        Return what is behind it; or ``data``, where there is none.
        """
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy or self._within or self._refused or self.transport.is_closing():
            return data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return data
        try:
            path, length, attributes = read(data[:end])
        except Unusual:
            return data
        entrance = self._door.find(path[1:])
        if entrance is None or entrance.broker.access is not None:
            return data
        body, size = end + 4, end + 4 + length
        if not (size <= len(data) and self._judge.agrees(data[:size])):
            return data
        self._unset_keepalive_if_required()
        self._taking = taking = Taking(self, self._door, entrance)
        self.cycle = cast("RequestResponseCycle", taking)
        if self._door.tracer is not None:
            taking.headers = trace_headers(data[:end])
        taking.take(attributes, data[body:size])
        return data[size:]

    # --- what the parser reads -------------------------------------------------------------

    def on_message_begin(self) -> None:
        # What uvicorn makes ready besides is only made ready for what it is handed.
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._in_head = True
        self._head_bytes = 0
        self._within = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._taking = None
        if self._upgrade_is_offered() or self.transport.is_closing():
            return
        is_post = self.parser.get_method() == b"POST"
        entrance = self._door.find(path_of(self.url)[1:]) if is_post else None
        if entrance is None:
            self._hand_over()
            return
        former = self.cycle
        taking = self._taking = Taking(self, self._door, entrance)
        taking.keep_alive = (
            self.parser.should_keep_alive() and self.parser.get_http_version() != "1.0"
        )
        taking.headers, taking.expects = self.headers, self.expect_100_continue
        self.cycle = cast("RequestResponseCycle", taking)
        if former is None or former.response_complete:
            taking.begin()
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        if self._taking is None:
            super().on_body(body)
        else:
            self._taking.feed(body)

    def on_message_complete(self) -> None:
        self._within = False
        if self._taking is None:
            super().on_message_complete()
        else:
            self._taking.end()

    def _hand_over(self) -> None:
        """Let uvicorn go on with this request as if it had read the head itself."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the list that is in the scope
        super().on_headers_complete()

    # --- answers ---------------------------------------------------------------------------

    def send_400_response(self, msg: str) -> None:
        self._door.refused(None, 400, "malformed_request")
        super().send_400_response(msg)

    def _refuse(self) -> None:
        self._door.refused(None, 431, "malformed_request")
        super()._refuse()

    def accept(self, taking: Taking) -> None:
        """Answer that the events are durable."""
        dated, answer = self._stored
        if dated is not self.server_state.default_headers:  # every second they are others
            answer = self._head(202, _NO_BODY, keep_alive=True)
            self._stored = (self.server_state.default_headers, answer)
        if not taking.keep_alive:
            answer = self._head(202, _NO_BODY, keep_alive=False)
        self._answer(taking, answer)

    def refuse(self, taking: Taking, error: BaseException) -> None:
        """Answer what went wrong."""
        refusal = self._door.refusal(taking.entrance, error, taking.headers, taking.began)
        head = self._head(refusal.status_code, refusal.raw_headers, keep_alive=taking.keep_alive)
        self._answer(taking, head + bytes(refusal.body))

    def _head(self, status: int, headers: Iterable[Header], *, keep_alive: bool) -> bytes:
        every = [*self.server_state.default_headers, *headers]
        if not keep_alive:
            every.append((b"connection", b"close"))
        lines = [b"%s: %s\r\n" % each for each in every]
        return b"".join([STATUS_LINE[status], *lines, b"\r\n"])

    def _answer(self, taking: Taking, answer: bytes) -> None:
        if self.flow.write_paused and not self.transport.is_closing():
            _ = self.spawn(self._answer_later(taking, answer))
            return
        taking.response_complete = True
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if not taking.keep_alive:
            self.transport.close()
        self.on_response_complete()

    async def _answer_later(self, taking: Taking, answer: bytes) -> None:
        """Answer once the client has read some of the answers before."""
        await self.flow.drain()
        self._answer(taking, answer)

    def spawn(self, work: Awaitable[None]) -> asyncio.Future[None]:
        """Run this in a task for which the server waits when it stops."""
        task = cast("asyncio.Task[None]", asyncio.ensure_future(work, loop=self.loop))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    # --- between requests ------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with the next request. uvicorn's, with one timer for all pauses of a connection."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start(*self.pipeline.pop())
            return
        self._resting_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_after(self.timeout_keep_alive)

    def _start(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        if isinstance(cycle, Taking):
            self.loop.call_soon(cycle.begin)  # many that are refused at once would recurse
        else:
            self._start_asgi_task(cycle, app)

    def _unset_keepalive_if_required(self) -> None:
        self._resting_since = None

    def _close_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if self._resting_since is None:
            return  # the next answer sets another
        left = self._resting_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._close_after(left)
        else:
            super().timeout_keep_alive_handler()
