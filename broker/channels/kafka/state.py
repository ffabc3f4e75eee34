"""What the dispatchers of a broker know of positions and counts: keys and values in one topic."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Self

from broker.channels.kafka.compacted import Append, Following, Read, configuration
from broker.channels.kafka.latest import Entry, Latest, Stamp
from broker.channels.kafka.settings import ClientOptions
from broker.codecs.kafka import Record
from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.channel")

_STAMP: Final = "cemesh-stamp"
_STAMPED: Final = re.compile(rb"([0-9]{1,18})\.([0-9]{1,18})")


def state_topic(of_events: Mapping[str, str]) -> Mapping[str, str]:
    """Return the configuration of a topic of states, beside a topic of events that has another.

    To read 10,000 keys after a million writes takes 1 to 2.4 s, the longer the less is compacted.
    """
    return configuration(of_events, segment_bytes=16 << 20, segment_age=timedelta(minutes=10))


@dataclass(eq=False, slots=True)
class _Batch:
    """What is written together, and what became of it once ``ended``."""

    entries: dict[str, Entry] = field(default_factory=dict)
    ended: bool = False
    error: CemeshError | None = None


class StateTopic:
    """A compacted topic of one partition: keys that are text, values that are opaque.

    Every process of the broker has one. Each key is written by one process at a time, which says
    by a higher ``epoch`` that it has taken it over; what an earlier owner still writes does not
    count, here or elsewhere, and is overwritten by any process that knows better.

    ``on_change`` is called with the key and the value, None if deleted, whenever another
    process has changed it, but not for what is there at the beginning.
    """

    def __init__(
        self,
        topic: str,
        append: Append,
        options: ClientOptions,
        *,
        on_change: Callable[[str, bytes | None], None] = lambda _, __: None,
    ) -> None:
        self._topic = topic
        self._append = append
        self._on_change = on_change
        self._following = Following(topic, options, take=self._take, at_end=self._write_again)
        self._latest = Latest()
        self._entered = False
        self._turn = asyncio.Lock()
        self._next = _Batch()
        self._on_its_way: Mapping[str, Entry] = {}
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Read all that is in the topic; raise `ChannelUnavailable` if that cannot be."""
        async with AsyncExitStack() as resources:
            resources.push_async_callback(self._following.close)
            await self._following.load()
            tasks = await resources.enter_async_context(asyncio.TaskGroup())
            resources.push_async_callback(self._following.close)  # or the tasks would not end
            self._following.start(tasks)
            self._entered = True
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    def get(self, key: str) -> bytes | None:
        return self._latest.get(key)

    def items(self, prefix: str = "") -> Mapping[str, bytes]:
        """Return the keys that begin with ``prefix``, with their values."""
        return self._latest.values(prefix)

    def epoch(self, prefix: str = "") -> int:
        """Return the highest epoch that keys which begin with ``prefix`` were written under, or -1.

        Whoever takes keys over awaits `caught_up` first, and then writes under an epoch that is
        higher than this and no lower than the group's generation. The generation alone does not
        do: Kafka forgets that of a group which was empty for a week, and begins again at 1.
        """
        return self._latest.epoch(prefix)

    async def caught_up(self) -> None:
        """Return once all is known that is in the topic now; raises `ChannelUnavailable`."""
        await self._following.caught_up()

    async def write(self, changes: Mapping[str, bytes | None], *, epoch: int) -> Collection[str]:
        """Return once the changes are durable; None deletes.

        From then on, and not before it is durable, `get` returns what was written. Changes are
        stored in the order of calls and, within one, of the mapping; calls at the same time
        share a batch. Returns the keys that this ``epoch`` can write no more, as another
        process has taken them over.

        Raises `ChannelUnavailable` or `ChannelFull`; a change may then be stored all the same,
        and does not count any more once something else has been written to its key.
        """
        entries = {
            key: Entry(stamp=self._latest.stamp(epoch), value=value)
            for key, value in changes.items()
            if not self._latest.is_held(key, epoch)
        }
        if entries:
            await self._store(entries)
        return frozenset(key for key in changes if self._latest.is_held(key, epoch))

    async def _store(self, entries: Mapping[str, Entry]) -> None:
        batch = self._next
        for key, entry in entries.items():
            earlier = batch.entries.get(key)
            if earlier is None or earlier.stamp < entry.stamp:
                batch.entries.pop(key, None)  # what comes later stands later
                batch.entries[key] = entry
        async with self._turn:
            # The first of a batch writes it for all; the next, if that one is cancelled.
            if batch is self._next:
                self._next = _Batch()
            if not batch.ended:
                try:
                    await self._write(batch.entries)
                except CemeshError as error:
                    batch.error = error
                batch.ended = True
        if batch.error is not None:
            raise batch.error

    async def _write(self, entries: Mapping[str, Entry]) -> None:
        self._on_its_way = entries
        try:
            await self._append(self._topic, [_record(*item) for item in entries.items()])
        finally:
            self._on_its_way = {}
        for key, entry in entries.items():
            self._latest.wrote(key, entry)

    async def _write_again(self) -> None:
        if not self._latest.overtaken():
            return
        async with self._turn:
            try:
                # What was written here in quick succession overtakes itself until it is read.
                if not await self._following.is_at_end():
                    return
                entries = self._latest.overtaken()
                await self._write(entries)
            except CemeshError as error:
                why = {"topic": self._topic, "why": str(error)}
                _log.warning("state not written again", extra=why)
            else:
                _log.info("state written again", extra={"topic": self._topic, "keys": [*entries]})

    def _take(self, record: Read) -> None:
        key = (record.key or b"").decode(errors="replace")
        entry = _entry(record)
        if entry is None:
            extra = {"topic": self._topic, "offset": record.offset}
            _log.warning("state not readable", extra=extra)
        if not self._latest.read(key, entry) or entry is None:
            return
        own = self._on_its_way.get(key)
        if self._entered and (own is None or own.stamp != entry.stamp):
            self._on_change(key, entry.value)


def _record(key: str, entry: Entry) -> Record:
    stamp = b"%d.%d" % entry.stamp
    return Record(key=key.encode(), value=entry.value, headers=[(_STAMP, stamp)])


def _entry(record: Read) -> Entry | None:
    found = _STAMPED.fullmatch(dict(record.headers).get(_STAMP) or b"")
    if found is None:
        return None
    return Entry(stamp=Stamp(int(found[1]), int(found[2])), value=record.value)
