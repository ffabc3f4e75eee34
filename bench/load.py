"""The load generator, a process of its own: `python -m bench.load ORDER`, ORDER being JSON.

Closed loop: each connection sends the next request as soon as the last one is answered. Open loop:
requests are due at a fixed rate, whether or not those before are answered; one that no connection
is free for waits, and its latency counts from when it was due.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

import msgspec
import uvloop

from bench.ledger import ACCEPTED, REFUSED, UNANSWERED, Sent
from bench.wire import Messages, Mode, encoder

_ANSWERS: Final = 30.0
"""Seconds that the last answers may take."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: for so many ``seconds``, or until there were so many ``events``.

    ``rate`` in events a second makes it an open loop. The states of all events are written to the
    file ``ledger``.
    """

    port: int
    path: str
    run: int
    ledger: str
    seconds: float = 0
    events: int = 0
    rate: int = 0
    mode: Mode = "binary"
    batch: int = 1
    connections: int = 64
    kind: str = "bench"
    size: int = 1024


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it.

    Times are of `time.monotonic_ns`; ``answers`` are the percentiles (50, 99, 99.9) of how long an
    answer took, in ns; ``statuses`` count requests, not events.
    """

    accepted: int
    began: int
    ended: int
    answers: tuple[int, int, int]
    statuses: dict[str, int]


class Load:
    """One order being carried out. ``sent`` has the states of the events."""

    def __init__(self, order: Order) -> None:
        self.sent: Final = Sent()
        self._order = order
        self._encode = encoder(order.mode, path=order.path, kind=order.kind, size=order.size)
        self._prefix = b"%d-" % order.run
        self._next = 0
        self._until = 0
        self._took = array("q")
        self._statuses: dict[str, int] = {}
        self._under_way = 0
        self._idle: list[_Connection] = []
        self._due: deque[int] = deque()
        self._done = asyncio.get_running_loop().create_future()

    async def carry_out(self) -> Told:
        """Send everything and return once it is answered.

        Raises:
            ConnectionError: A connection was lost.
            TimeoutError: The last answers did not come.

        """
        loop = asyncio.get_running_loop()
        made = [
            (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._order.port))
            for _ in range(self._order.connections)
        ]
        connections = [connection for _, connection in made]
        began = time.monotonic_ns()
        if self._order.rate:
            await self._open(connections, began)
        else:
            self._until = began + int(self._order.seconds * 1e9) if self._order.seconds else 0
            for connection in connections:
                self._go_on(connection)
        await asyncio.wait_for(self._done, _ANSWERS + self._order.seconds)
        ended = time.monotonic_ns()
        for connection in connections:
            connection.close()
        return Told(
            accepted=self.sent.states.count(ACCEPTED),
            began=began,
            ended=ended,
            answers=percentiles(self._took),
            statuses=self._statuses,
        )

    async def _open(self, connections: Sequence[_Connection], began: int) -> None:
        self._idle.extend(connections)
        self._until = -1  # nothing is sent because of an answer alone
        count = int(self._order.rate * self._order.seconds)
        for number in range(count):
            due = began + number * 1_000_000_000 // self._order.rate
            ahead = due - time.monotonic_ns()
            if ahead > 0:
                await asyncio.sleep(ahead / 1e9)
            if self._idle:
                self._send(self._idle.pop(), due)
            else:
                self._due.append(due)
                await asyncio.sleep(0)
        self._until = 0
        self._order = msgspec.structs.replace(self._order, events=count)
        if not self._under_way and not self._due:
            self._finish(None)

    def answered(self, connection: _Connection, status: str) -> None:
        """Note the answer and let the connection go on."""
        self._took.append(time.monotonic_ns() - connection.due)
        self._statuses[status] = self._statuses.get(status, 0) + 1
        state = ACCEPTED if status[0] == "2" else REFUSED
        for number in connection.numbers:
            self.sent.note(number, state)
        connection.numbers = range(0)
        self._under_way -= 1
        if not self._order.rate:
            self._go_on(connection)
        elif self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)
            if not self._until and not self._under_way:
                self._finish(None)

    def lost(self, error: Exception) -> None:
        """Give up: a connection is gone."""
        self._finish(error)

    def _go_on(self, connection: _Connection) -> None:
        now = time.monotonic_ns()
        enough = self._order.events and self._next >= self._order.events
        if enough or (self._until and now >= self._until):
            if not self._under_way:
                self._finish(None)
            return
        self._send(connection, now)

    def _send(self, connection: _Connection, due: int) -> None:
        numbers = range(self._next, self._next + self._order.batch)
        self._next = numbers.stop
        for number in numbers:
            self.sent.note(number, UNANSWERED)
        self._under_way += 1
        after = b"-%d" % due
        ids = [b"%s%d%s" % (self._prefix, number, after) for number in numbers]
        connection.send(self._encode(ids), numbers, due)

    def _finish(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load) -> None:
        self._load = load
        self._messages = Messages()
        self._closing = False
        self.numbers = range(0)
        self.due = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, numbers: range, due: int) -> None:
        self.numbers = numbers
        self.due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        for head in self._messages.heads(data):
            self._load.answered(self, head[9:12].decode())

    def close(self) -> None:
        self._closing = True
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._load.lost(ConnectionError(f"a connection was lost: {exc}"))


def percentiles(values: array[int]) -> tuple[int, int, int]:
    """Return the 50th, the 99th and the 99.9th percentile; zeros where there are no values."""
    if not values:
        return 0, 0, 0
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[last * 500 // 1000], ordered[last * 990 // 1000], ordered[last * 999 // 1000]


def _loop(order: Order) -> Callable[[], asyncio.AbstractEventLoop]:
    # uvloop's timers are whole milliseconds, and so are those of epoll; select's are not.
    if order.rate:
        return lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())
    return uvloop.new_event_loop


async def _carry_out(order: Order) -> Told:
    load = Load(order)
    told = await load.carry_out()
    await asyncio.to_thread(Path(order.ledger).write_bytes, load.sent.states)
    return told


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    with asyncio.Runner(loop_factory=_loop(order)) as runner:
        told = runner.run(_carry_out(order))
    sys.stdout.buffer.write(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
