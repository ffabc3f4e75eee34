"""Publisher confirms: what the server says of each message, and whose it was.

aiormq's own way takes some 200 µs of processor for a message, with a task, a lock, three futures
and a write for each. Here a write has many messages, and an answer that is for many costs as much
as they are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from itertools import count
from typing import Final, NamedTuple

import aiormq
from aiormq import spec
from aiormq.abc import ChannelFrame, ConfirmationFrameType
from pamqp.header import ContentHeader

from broker.channels.rabbitmq.connection import Connection
from broker.channels.rabbitmq.outgoing import Outgoing

_OPENED_WITHIN: Final = 10.0


class Fate(Enum):
    """What became of a message: every queue for it has it, there was none, or one refused it."""

    STORED = "stored"
    UNROUTABLE = "unroutable"
    REFUSED = "refused"


class Call:
    """Messages that somebody waits for: until all of them are stored, or one is not.

    ``since`` is when that began, by the loop's clock.
    """

    __slots__ = ("_left", "_unroutable", "outgoing", "settled", "since")

    def __init__(self, outgoing: Sequence[Outgoing]) -> None:
        loop = asyncio.get_running_loop()
        self.outgoing = outgoing
        self.since = loop.time()
        self.settled: asyncio.Future[None] = loop.create_future()
        self._left = len(outgoing)
        self._unroutable: list[int] = []

    def confirmed(self, place: int, *, is_routed: bool = True) -> None:
        if not is_routed:
            self._unroutable.append(place)
        self._left -= 1
        if self._left == 0 and not self.settled.done():
            self.settled.set_result(None)

    def fail(self, error: Exception) -> None:
        if not self.settled.done():
            self.settled.set_exception(error)

    def unroutable(self) -> Sequence[Outgoing]:
        """Return the messages that no queue was there for, in the order of the call."""
        return [self.outgoing[place] for place in sorted(self._unroutable)]


class Part(NamedTuple):
    """One of the messages of a call."""

    call: Call
    place: int

    @property
    def outgoing(self) -> Outgoing:
        return self.call.outgoing[self.place]


class ConfirmingChannel(aiormq.Channel):
    """A channel that tells ``settle`` the fate of each message that is written to it.

    ``end`` is what the server closed it with, of which ``on_end`` is told; then the messages that
    are ``unconfirmed`` may be stored or not, and none may be written any more.
    """

    def __init__(
        self, connection: Connection, number: int, settle: Callable[[Part, Fate], None]
    ) -> None:
        super().__init__(connection, number, frame_buffer=connection.FRAME_BUFFER_SIZE)
        self.end: spec.Channel.Close | None = None
        self.on_end: Callable[[], None] | None = None
        self._settle = settle
        self._unconfirmed: dict[int, Part] = {}
        self._oldest = self._next = 1
        self._returned: Counter[tuple[str | None, str | None, str | None]] = Counter()

    @property
    def unconfirmed(self) -> Sequence[Part]:
        """The messages of which the server has not told what became of them, oldest first."""
        return list(self._unconfirmed.values())

    def write(self, messages: Iterable[tuple[Part, Iterable[bytes]]]) -> asyncio.Future[None]:
        """Have these messages written, each given with its frames, and return when they are.

        That is when the network has taken them. Until then nothing else may be written.
        """
        payload: list[bytes] = []
        for part, frames in messages:
            self._unconfirmed[self._next] = part
            self._next += 1
            payload.extend(frames)
        written = self.loop.create_future()
        # As nobody else writes, but heartbeats, the queue is never full.
        self.write_queue.put_nowait(
            ChannelFrame(payload=b"".join(payload), should_close=False, drain_future=written)
        )
        return written

    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        tag = frame.delivery_tag or 0
        is_stored = isinstance(frame, spec.Basic.Ack)
        multiple = not isinstance(frame, spec.Basic.Reject) and frame.multiple
        for each in range(self._oldest if multiple else tag, tag + 1):
            part = self._unconfirmed.pop(each, None)
            if part is not None:
                self._settle(part, self._fate(part, is_stored=is_stored))
        if multiple or tag == self._oldest:
            self._oldest = tag + 1

    async def _on_return_frame(self, frame: spec.Basic.Return) -> None:
        # Its confirm comes behind it.
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise aiormq.exceptions.InvalidFrameError(header)
        message = await self._read_content(frame, header)
        key = message.header.properties.message_id, frame.exchange, frame.routing_key
        self._returned[key] += 1

    async def _on_close_frame(self, frame: spec.Channel.Close) -> None:
        # What is written behind the answer to this would cost the connection.
        self.end = frame
        if self.on_end is not None:
            self.on_end()
        await super()._on_close_frame(frame)

    def _fate(self, part: Part, *, is_stored: bool) -> Fate:
        if self._returned:
            outgoing = part.outgoing
            key = outgoing.stamp, outgoing.exchange, outgoing.routing_key
            times = self._returned.pop(key, 0)
            if times > 1:
                self._returned[key] = times - 1
            if times:
                return Fate.UNROUTABLE
        return Fate.STORED if is_stored else Fate.REFUSED


async def open_confirming(
    connection: Connection, settle: Callable[[Part, Fate], None]
) -> ConfirmingChannel:
    """Return a new channel of the connection; raises what aiormq raises."""
    number = next(each for each in count(1) if each not in connection.channels)
    channel = ConfirmingChannel(connection, number, settle)
    connection.channels[number] = channel
    async with asyncio.timeout(_OPENED_WITHIN):
        await channel.open()
    return channel
