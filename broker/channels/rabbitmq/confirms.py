"""Publisher confirms: what the server says of each message, and whose it was.

aiormq's own way takes some 200 µs of processor for a message, with a task, a lock, three futures
and a write for each. Here a write has many messages, and an answer that is for many costs as much
as they are.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import count
from typing import Final, NamedTuple

import aiormq
from aiormq import spec
from aiormq.abc import ChannelFrame, ConfirmationFrameType
from pamqp.header import ContentHeader

from broker.channels.rabbitmq.outgoing import Outgoing
from broker.connections.rabbitmq.connection import Connection

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


class Confirms:
    """What was written to a channel, and what the server has not confirmed of it."""

    def __init__(self) -> None:
        self._parts: dict[int, Part] = {}
        self._oldest = self._next = 1
        self._returned: Counter[tuple[str | None, str | None, str | None]] = Counter()

    @property
    def left(self) -> Sequence[Part]:
        """The messages of which the server has not told what became of them, oldest first."""
        return list(self._parts.values())

    def written(self, part: Part) -> None:
        """Note that this is the next message."""
        self._parts[self._next] = part
        self._next += 1

    def returned(self, stamp: str | None, exchange: str | None, routing_key: str | None) -> None:
        """Note that such a message came back. Its confirm comes behind it."""
        self._returned[stamp, exchange, routing_key] += 1

    def answered(self, tag: int, *, multiple: bool, is_taken: bool) -> Iterator[tuple[Part, Fate]]:
        """Yield the message with that number, or all up to it, and what became of each."""
        for each in range(self._oldest if multiple else tag, tag + 1):
            part = self._parts.pop(each, None)
            if part is not None:
                yield part, self._fate(part) if is_taken else Fate.REFUSED
        if multiple or tag == self._oldest:
            self._oldest = tag + 1

    def _fate(self, part: Part) -> Fate:
        """Return what became of a message that the server has taken."""
        if not self._returned:
            return Fate.STORED
        outgoing = part.outgoing
        key = outgoing.stamp, outgoing.exchange, outgoing.routing_key
        times = self._returned.pop(key, 0)
        if times > 1:
            self._returned[key] = times - 1
        return Fate.UNROUTABLE if times else Fate.STORED


class ConfirmingChannel(aiormq.Channel):
    """A channel that tells ``settle`` the fate of each message that is written to it.

    ``end`` is why it has ended, in words, of which ``on_end`` is told: mostly what the server
    closed it with. Then nothing may be written any more, as that would cost the connection, and
    what is ``unconfirmed`` may be stored or not.
    """

    def __init__(
        self, connection: Connection, number: int, settle: Callable[[Part, Fate], None]
    ) -> None:
        super().__init__(connection, number, frame_buffer=connection.FRAME_BUFFER_SIZE)
        self.end: str | None = None
        self.on_end: Callable[[], None] | None = None
        self._settle = settle
        self._confirms = Confirms()

    @property
    def unconfirmed(self) -> Sequence[Part]:
        """The messages of which the server has not told what became of them, oldest first."""
        return self._confirms.left

    def write(self, messages: Iterable[tuple[Part, Iterable[bytes]]]) -> asyncio.Future[None]:
        """Have these messages written, each given with its frames.

        What is returned is done when the network has taken them; before, no more may be written.
        """
        payload: list[bytes] = []
        for part, frames in messages:
            self._confirms.written(part)
            payload.extend(frames)
        written = self.loop.create_future()
        # As nobody else writes, but heartbeats, the queue is never full.
        self.write_queue.put_nowait(
            ChannelFrame(payload=b"".join(payload), should_close=False, drain_future=written)
        )
        return written

    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        multiple = not isinstance(frame, spec.Basic.Reject) and frame.multiple
        is_taken = isinstance(frame, spec.Basic.Ack)
        tag = frame.delivery_tag or 0
        for part, fate in self._confirms.answered(tag, multiple=multiple, is_taken=is_taken):
            self._settle(part, fate)

    async def _on_return_frame(self, frame: spec.Basic.Return) -> None:
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise aiormq.exceptions.InvalidFrameError(header)
        message = await self._read_content(frame, header)
        stamp = message.header.properties.message_id
        self._confirms.returned(stamp, frame.exchange, frame.routing_key)

    async def _on_close_frame(self, frame: spec.Channel.Close) -> None:
        self._end(str(frame.reply_text))
        await super()._on_close_frame(frame)

    async def close(
        self,
        exc: BaseException | type[BaseException] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - aiormq's own
    ) -> None:
        # aiormq does it by itself where it cannot read an answer.
        self._end(str(exc or "it is no longer used"))
        await super().close(exc, timeout)

    def _end(self, why: str) -> None:
        if self.end is None:
            self.end = why
            if self.on_end is not None:
                self.on_end()


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
