"""Looks back in a broker's stream of all events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final

from broker.channels.clock import microseconds
from broker.channels.history import CLOCK_STEP, position_number
from broker.channels.rabbitmq.stamps import accepted_at, time_of
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.codecs.amqp import may_have_id
from broker.errors import InvalidEvent
from broker.ports import Stored

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RabbitmqHistory:
    """Reads the stream by a channel for each call. A call keeps ``limit`` events without payloads.

    Of 200,000 events of 1 KiB, the first 1,000 take 0.25 s of processor, the last 100 0.03 s, and
    those with one id 26 s: whoever reads a stream has to be sent everything. From a time on, that
    is also what was appended in the minute before, as clocks differ.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        """See `broker.ports.Channel.history`. What is no CloudEvent is left out.

        The order is that of the stream. What others published was accepted when its timestamp
        says, or else when the event before it was.
        """
        behind = -1 if after is None else position_number(after)
        earliest = 0 if since is None else max(microseconds(since), 0)
        start: int | datetime | None = None
        if after is not None:
            start = behind  # which may tell the time of the next one
        elif since is not None and since - _EPOCH > CLOCK_STEP:
            start = since - CLOCK_STEP
        found: list[Stored] = []
        at = earliest
        async with aclosing(self._stream.read(start, await self._stream.end())) as entries:
            async for entry in entries:
                at = _accepted(entry, at)
                if entry.offset > behind and at >= earliest:
                    found += _stored(entry, at, id)
                if len(found) >= limit:
                    break
        return found


def _accepted(entry: Entry, before: int) -> int:
    """Return when the event was accepted, in microseconds since 1970."""
    stamped = accepted_at(entry.stamp)
    if stamped is not None:
        return stamped
    return before if entry.timestamp is None else microseconds(entry.timestamp)


def _stored(entry: Entry, at: int, id: str | None) -> Sequence[Stored]:
    """Return the event without its payload, if it is one, and has that id."""
    if id is not None and not may_have_id(entry.headers, id, content_type=entry.content_type):
        return []
    try:
        event, notes = entry.decode()
    except InvalidEvent:
        return []
    if id not in (None, event.id):
        return []
    position = str(entry.offset)
    return [Stored(position=position, at=time_of(at), event=event.without_data(), to=notes.to)]
