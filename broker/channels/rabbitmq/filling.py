"""Fills the queue of a trigger from the stream of all events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from broker.channels.rabbitmq.publishing import Outgoing, Publishing
from broker.channels.rabbitmq.stamps import Stamps, accepted_at, original, time_of
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.codecs.amqp import decode, encode
from broker.errors import ChannelUnavailable, InvalidEvent
from broker.filters import Filter

MARGIN: Final = 2_000_000
"""Microseconds by which what is published at the same time may be accepted before or after."""

_CLOCKS: Final = timedelta(minutes=5)
_AT_ONCE: Final = 100


class Filling:
    """Gives a queue what it would have been given since some time."""

    def __init__(self, events: Stream, publishing: Publishing, stamps: Stamps) -> None:
        self._events = events
        self._publishing = publishing
        self._stamps = stamps

    async def fill(
        self,
        queue: str,
        trigger: str,
        filter: Filter,
        *,
        since: int,
        is_done: Callable[[str], bool],
        left: Sequence[str] = (),
    ) -> int:
        """Publish to the queue what was accepted at ``since`` or later and is for the trigger.

        But for what has a stamp that ``is_done``; what is there already has the same stamp then.
        Messages with the stamps ``left`` had taken the place of others, and come whatever is done.
        Returns how many that are. Raises what `Publishing.publish` raises.
        """
        filled = 0
        batch: list[Outgoing] = []
        # The last one of each, as their numbers are hexadecimal.
        instead = {original(each): each for each in sorted(left, key=lambda it: (len(it), it))}
        async for each in self._missing(queue, trigger, filter, since, is_done, instead):
            batch.append(each)
            if len(batch) == _AT_ONCE:
                filled += await self._publish(queue, batch)
                batch = []
        return filled + await self._publish(queue, batch)

    async def _missing(
        self,
        queue: str,
        trigger: str,
        filter: Filter,
        since: int,
        is_done: Callable[[str], bool],
        instead: Mapping[str, str],
    ) -> AsyncIterator[Outgoing]:
        end = await self._events.end()
        async for entry in self._events.read(time_of(since) - _CLOCKS, end):
            at, stamp = accepted_at(entry.stamp), entry.stamp or ""
            is_left = stamp in instead
            if at is not None and not is_left and (at < since or is_done(stamp)):
                continue
            found = self._for(entry, instead.get(stamp, stamp), trigger, filter, queue)
            if found is not None:
                yield found

    def _for(
        self, entry: Entry, stamp: str, trigger: str, filter: Filter, queue: str
    ) -> Outgoing | None:
        try:
            event, notes = decode(
                entry.headers,
                entry.body,
                content_type=entry.content_type,
                content_encoding=entry.content_encoding,
            )
        except InvalidEvent:
            return None  # what others published is for no trigger
        is_mine = filter.matches(event.attributes) if notes.to is None else notes.to == trigger
        if not is_mine:
            return None
        if accepted_at(stamp) is None:
            stamp = self._stamps.new()
        return Outgoing(message=encode(event, notes), stamp=stamp, routing_key=queue)

    async def _publish(self, queue: str, batch: list[Outgoing]) -> int:
        if batch and await self._publishing.publish(batch):
            raise ChannelUnavailable(f"the queue '{queue}' is gone while it is filled")
        return len(batch)
