"""The broker's own dead-letter store: a compacted topic of one partition.

A dead letter's id is its offset, so that ids are in the order of burial whoever buries, and lead
to the record. Its key says which delivery was given up, so that burying one again, after a crash,
takes the place of the first; a record without a value removes it. Burying reads nothing. Whoever
lists, gets or removes follows the topic from then on and remembers offsets and keys, about 300
bytes for each dead letter; events are read when they are asked for.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Self

from broker.channels.kafka.compacted import Append, Following, Read, configuration
from broker.channels.kafka.fetching import Fetching
from broker.channels.kafka.settings import ClientOptions
from broker.codecs.kafka import Notes, Record, decode, encode
from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import DeadLetter, Refusal

_log: Final = logging.getLogger("cemesh.channel")


def dead_letter_topic(of_events: Mapping[str, str]) -> Mapping[str, str]:
    """Return the configuration of a topic of dead letters, beside that topic of events.

    What was removed is gone from the disks a day later, if something else is buried meanwhile.
    """
    compacted = configuration(of_events, segment_bytes=64 << 20, segment_age=timedelta(hours=12))
    day = str(timedelta(days=1) // timedelta(milliseconds=1))
    return {
        **compacted,
        "max.compaction.lag.ms": day,
        "message.timestamp.type": "LogAppendTime",  # one clock, whichever process buries
    }


class KafkaDeadLetters:
    """See `broker.ports.DeadLetters`. All methods raise `ChannelUnavailable`."""

    def __init__(self, topic: str, append: Append, options: ClientOptions) -> None:
        self._topic = topic
        self._append = append
        self._index = _Index()
        self._following = Following(topic, options, take=self._index.take)
        self._followed = False
        self._loading = asyncio.Lock()
        self._fetching = Fetching(topic, options)
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        self._tasks = await self._resources.enter_async_context(asyncio.TaskGroup())
        self._resources.push_async_callback(self._following.close)
        self._resources.push_async_callback(self._fetching.close)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    async def bury(
        self, trigger: str, event: Event, why: Refusal, *, delivery: str | None = None
    ) -> None:
        """Return once the event is durable as a dead letter of that trigger.

        ``delivery`` tells it from all others of the trigger; burying the same one again changes
        nothing but its id. Raises `TooLarge` where the topic takes no record of that size, which
        cannot be where the topic is configured as `dead_letter_topic` has it.
        """
        record = encode(event, Notes(to=trigger, condemned=why))
        key = f"{trigger} {delivery or uuid.uuid4().hex}"
        await self._append(self._topic, [replace(record, key=key.encode())])

    async def list(
        self, *, trigger: str | None = None, after: str | None = None, limit: int = 100
    ) -> Sequence[DeadLetter]:
        await self._catch_up()
        offsets = self._index.after(_offset(after), trigger)
        letters: list[DeadLetter] = []
        # What was removed just now, or cannot be read, must not cut the page short.
        while wanted := list(islice(offsets, limit - len(letters))):
            letters += await self._letters(wanted)
        return letters

    async def get(self, id: str) -> DeadLetter | None:
        await self._catch_up()
        offset = _offset(id)
        if self._index.key(offset) is None:
            return None
        return next(iter(await self._letters([offset])), None)

    async def remove(self, ids: Sequence[str]) -> int:
        await self._catch_up()
        found = {offset: self._index.key(offset) for offset in map(_offset, ids)}
        gone = {offset: key for offset, key in found.items() if key is not None}
        if gone:
            removals = [Record(key=key, value=None, headers=[]) for key in gone.values()]
            await self._append(self._topic, removals)
            for offset in gone:
                self._index.discard(offset)
        return len(gone)

    async def _catch_up(self) -> None:
        """Return once all is known that has been buried and removed, by whomever."""
        async with self._loading:
            if not self._followed:
                await self._following.load()
                self._following.start(self._tasks)
                self._followed = True
        await self._following.caught_up()

    async def _letters(self, offsets: Sequence[int]) -> Sequence[DeadLetter]:
        found = map(_letter, await self._fetching.records(offsets))
        return [letter for letter in found if letter is not None]


class _Index:
    """Where the dead letters are that have not been removed."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, int] = {}
        self._keys: dict[int, bytes] = {}
        self._order: list[int] = []  # ascending, those that are gone among them

    def take(self, record: Read) -> None:
        key = record.key or b""
        if key in self._offsets:
            self.discard(self._offsets[key])
        if record.value is not None:
            self._offsets[key] = record.offset
            self._keys[record.offset] = key
            if not self._order or self._order[-1] < record.offset:
                self._order.append(record.offset)
        if len(self._order) > 2 * len(self._keys) + 1000:
            self._order = sorted(self._keys)

    def discard(self, offset: int) -> None:
        key = self._keys.pop(offset, None)
        if key is not None:
            del self._offsets[key]

    def key(self, offset: int) -> bytes | None:
        return self._keys.get(offset)

    def after(self, offset: int, trigger: str | None) -> Iterator[int]:
        """Yield the offsets behind this one, of that trigger or of all."""
        begins = b"" if trigger is None else f"{trigger} ".encode()
        order = self._order  # which is replaced, and never made shorter
        for place in range(bisect_right(order, offset), len(order)):
            key = self._keys.get(order[place])
            if key is not None and key.startswith(begins):
                yield order[place]


def _offset(id: str | None) -> int:
    """Return the record's offset, or -1, which is before any, where the id is none of ours."""
    return int(id) if id and id.isascii() and id.isdigit() and len(id) < 19 else -1


def _letter(record: Read) -> DeadLetter | None:
    try:
        event, notes = decode(record.headers, record.value)
        if notes.to is None or notes.condemned is None:
            raise InvalidEvent("it does not say of which trigger it is, and why")
    except InvalidEvent as error:
        extra = {"topic": record.topic, "offset": record.offset, "why": str(error)}
        _log.warning("dead letter not readable", extra=extra)
        return None
    return DeadLetter(
        id=f"{record.offset:016d}",
        trigger=notes.to,
        event=event,
        why=notes.condemned,
        buried_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
    )
