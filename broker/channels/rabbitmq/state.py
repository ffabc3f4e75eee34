"""The stream of what is known of a broker: each process writes to it, and every one reads it all.

It may be cut at 64 MiB: whoever starts reads from the last summary on, and there is one for
each MiB of entries. So the server removes what a summary still needs only if nobody has summed
up 60 MiB of entries. Then a process that starts refuses to, as it would tell wrong counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from aiormq import ChannelPreconditionFailed, ConnectionInternalError
from aiormq.abc import AbstractConnection

from broker.channels.clock import now
from broker.channels.rabbitmq import streams
from broker.channels.rabbitmq.author import Author
from broker.channels.rabbitmq.entries import Entry, Place, Stamped, decode, encode
from broker.channels.rabbitmq.ledger import Ledger
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.replay import Replay
from broker.channels.rabbitmq.stamps import Stamps, time_of
from broker.channels.rabbitmq.streams import Stream
from broker.channels.trouble import Trouble
from broker.codecs.amqp import Message
from broker.connections.rabbitmq.connecting import at
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable
from broker.ports import Pause

_log: Final = logging.getLogger("cemesh.channel")

_PATIENCE: Final = timedelta(seconds=10)
_NOT_YET: Final = (ChannelPreconditionFailed, ConnectionInternalError)
_MADE_WITHIN: Final = 5.0
_LOOKS_EVERY: Final = 0.1
_CLOCKS: Final = timedelta(seconds=10)
_LOOKED_AT: Final = 100
"""How many of the last messages are asked where the last summary is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server keeps of the stream, in bytes: it removes whole segments."""

    stream: int = 64 << 20
    segment: int = 4 << 20


@dataclass(eq=False, slots=True)
class _Barrier:
    """What callers wait for at the same time, and what became of it once ``ended``."""

    ended: bool = False
    error: CemeshError | None = None


class State:
    """What this process tells the others, and what is known, by reading it.

    Entering raises `ChannelUnavailable`. Then the ``ledger`` knows all that had been confirmed,
    and goes on with what anybody confirms. ``on_settled`` is told what others have counted as it is
    read, since that is forgotten as soon as they have acked it.
    """

    def __init__(
        self,
        link: Link,
        publishing: Publishing,
        stream: str,
        stamps: Stamps,
        *,
        limits: Limits = Limits(),
    ) -> None:
        self._link = link
        self._publishing = publishing
        self._stream = Stream(link, stream)
        self._stamps = stamps
        self._limits = limits
        self._author = Author(stamps.process)
        self._replay = Replay()
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()
        self._barriers = asyncio.Lock()
        self._next = _Barrier()
        self._has_followed = False
        self._is_strange = False
        self.on_settled: Callable[[Stamped], None] | None = None
        self._trouble = Trouble(lambda: publishing.is_out)
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._declare()
        end = await self._first_end()
        self._replay = Replay(end, await self._last_summary(end))
        tasks = await self._running.enter_async_context(asyncio.TaskGroup())
        self._running.callback(tasks.create_task(self._link.keep(self._follow)).cancel)
        try:
            await self._reach(lambda: self._replay.position >= end)
            self._check_whole()
        except BaseException:
            await self._running.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()  # the task group would wrap what was raised in the context

    @property
    def ledger(self) -> Ledger:
        """What is known. It is another object now and then."""
        return self._replay.ledger

    def own_settled(self, trigger: str) -> Collection[str]:
        """Return the messages that this process is known to have counted, and may not have acked.

        That tells of an entry which was stored, though its confirm was lost.
        """
        return self.ledger.settled_by(self._author.process, trigger)

    async def write(self, entry: Entry) -> int:
        """Return the number of the entry, of this process's own, once it is confirmed.

        Raises what `Publishing.publish` raises. Then what the entry tells is to be told again,
        all of it: it may be stored, or not, or be passed over because of one behind it.
        """
        async with self._turn:
            if not self._author.has_begun:
                await self._publish(Entry())
            if not self._author.may_go_on:
                await self._read(lambda: self._author.may_go_on)
            return await self._publish(entry)

    async def note(
        self,
        places: Mapping[str, Place] | None = None,
        *,
        pauses: Mapping[str, Pause | None] | None = None,
    ) -> None:
        """Return once that is told and known here. Raises what `write` raises."""
        await self._own(await self.write(Entry(places=places or {}, pauses=pauses or {})))

    def is_in_hand_elsewhere(self, trigger: str, alive_since: int) -> bool:
        """Return whether another process has some of the trigger, as far as is known.

        It counts if it was heard of then or later (microseconds since 1970).
        """
        own = self._author.process
        return self.ledger.is_in_hand(trigger, alive_since=alive_since, but=own)

    async def settled_since(self, trigger: str, since: int) -> Sequence[str]:
        """Return the messages that processes have counted since then, also those acked long ago.

        ``since`` is in microseconds since 1970. Raises `ChannelUnavailable`.
        """
        start, end = time_of(since) - _CLOCKS, await self._stream.end()
        async with aclosing(self._stream.read(start, end)) as messages:
            found = [entry async for each in messages if (entry := decode(each.body)) is not None]
        return [stamp for entry in found for stamp in entry.settled.get(trigger, ())]

    async def barrier(self) -> None:
        """Return once all has been read that was confirmed before the call.

        So has what a process had sent whose connection the server has closed, unless an alarm
        keeps the server from taking entries. Raises `ChannelUnavailable`.
        """
        barrier = self._next
        async with self._barriers:
            # The first of those who wait goes through it for all; the next, if it is cancelled.
            if barrier is self._next:
                self._next = _Barrier()
            if not barrier.ended:
                try:
                    await self._pass()
                except CemeshError as error:
                    barrier.error = error
                barrier.ended = True
        if barrier.error is not None:
            raise barrier.error

    async def sum_up(self) -> None:
        """Write a summary, if it is time for one. Raises what `write` raises."""
        if self._replay.lacks_a_summary:
            await self._own(await self.write(Entry(summary=self._replay.summary(now()))))

    # --- writing ---------------------------------------------------------------------------

    async def _publish(self, entry: Entry) -> int:
        signed = self._author.sign(entry, self.ledger, at=now(), summed=self._replay.summed)
        message = Message(body=encode(signed), headers={}, content_type=None)
        stamp, stream = self._stamps.new(), self._stream.name
        unroutable = await self._publishing.publish(
            [Outgoing(message=message, stamp=stamp, routing_key=stream)]
        )
        if unroutable:
            raise ChannelUnavailable(f"{self._where} is not there now")
        self._stream.appended()
        self._author.confirmed(signed)
        return signed.number

    async def _pass(self) -> None:
        try:
            await self._own(await self.write(Entry()))
        except ChannelFull:  # so nobody else writes either
            end = await self._stream.end()
            await self._reach(lambda: self._replay.position >= end)
        self._check_whole()

    async def _tell_again(self) -> None:
        """Tell the counts anew of which others do not know how far they counted already."""
        try:
            await self.write(Entry())
        except CemeshError as error:  # the next entry does it
            self._trouble.met("cannot tell counts", error, stream=self._stream.name)

    # --- reading ---------------------------------------------------------------------------

    async def _declare(self) -> None:
        limits = self._limits
        await self._stream.declare(max_bytes=limits.stream, segment_bytes=limits.segment)

    async def _first_end(self) -> int:
        """Return the end of the stream, once it can be read.

        RabbitMQ 3.10 refuses to read a stream that another process is just making, or closes the
        connection of whoever tries to.
        """
        began = asyncio.get_running_loop().time()
        while True:
            try:
                return await self._stream.end()
            except ChannelUnavailable as error:
                is_late = asyncio.get_running_loop().time() - began > _MADE_WITHIN
                if is_late or not isinstance(error.__cause__, _NOT_YET):
                    raise
            await asyncio.sleep(_LOOKS_EVERY)

    async def _last_summary(self, end: int) -> int | None:
        """Return up to which offset a summary covers all, or None if there is none."""
        async with aclosing(self._stream.read(max(0, end - _LOOKED_AT), end)) as messages:
            entries = [decode(message.body) async for message in messages]
        told = {each.summed for each in entries if each is not None}
        return max((each for each in told if each is not None and each < end), default=None)

    async def _follow(self, _: AbstractConnection) -> None:
        if self._has_followed:
            await self._mend()
        self._has_followed = True
        async with self._stream.follow(self._replay.resume()) as messages:
            async for message in messages:
                self._take(message)
                if self._author.must_tell_again(self.ledger):
                    await self._tell_again()

    async def _mend(self) -> None:
        """Make the stream again if somebody has deleted it: it begins with a summary."""
        if self._replay.position:
            self._stream.appended()  # so it seems empty only if it is
        await self._declare()
        if await self._stream.end() < self._replay.position:
            _log.warning("stream was deleted and is made again", extra=self._fields)
            self._replay.renew()

    def _take(self, message: streams.Entry) -> None:
        entry = decode(message.body)
        extra = {**self._fields, "offset": message.offset}
        if entry is None and not self._is_strange:
            self._is_strange = True
            _log.warning("message in the state is passed over: it is no entry", extra=extra)
        was_whole = self._replay.is_whole
        counted = self.ledger.counted(self._author.process)
        self._replay.take(message.offset, entry, len(message.body))
        if entry is not None:
            self._author.read(entry, counted, self.ledger)
            is_own = entry.process == self._author.process
            if entry.settled and not is_own and self.on_settled is not None:
                self.on_settled(entry.settled)
        if was_whole and not self._replay.is_whole:
            _log.error("state not known", extra={**extra, "why": self._unknown()})
            self._author.skip()
        self._news.set()
        self._news = asyncio.Event()

    # --- waiting for what was read ---------------------------------------------------------

    async def _own(self, number: int) -> None:
        """Return once the entry with that number of this process is read."""
        await self._read(lambda: self._author.read_up_to >= number)

    async def _read(self, is_read: Callable[[], bool]) -> None:
        """Return once that is so, as `_reach` does, if everything before that is known."""

        def is_known() -> bool:
            self._check_whole()
            return is_read()

        await self._reach(is_known)

    async def _reach(self, is_reached: Callable[[], bool]) -> None:
        """Return once that is so. Raises `ChannelUnavailable` if nothing is read for 10 s."""
        while not is_reached():
            try:
                async with asyncio.timeout(_PATIENCE.total_seconds()):
                    await self._news.wait()
            except TimeoutError:
                late = f"{self._where}: what was written to it cannot be read"
                raise ChannelUnavailable(self._link.trouble or late) from None

    def _check_whole(self) -> None:
        if not self._replay.is_whole:
            raise ChannelUnavailable(self._unknown())

    def _unknown(self) -> str:
        return (
            f"{self._where} has lost entries that no summary covers, so counts, what was settled "
            "and where removed triggers stood cannot be told: let no policy limit the stream, and "
            "if no other process of the broker knows more, delete it to begin anew"
        )

    @property
    def _where(self) -> str:
        return f"{at(self._link.settings)}: the stream '{self._stream.name}'"

    @property
    def _fields(self) -> dict[str, str]:
        return {"server": self._link.settings.server, "stream": self._stream.name}
