"""Looks back in a broker's topic, over all of its partitions."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from typing import Final, Self

from aiokafka import TopicPartition

from broker.channels.kafka.entries import Entry
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.rereading import Rereading
from broker.channels.kafka.settings import ClientOptions
from broker.ports import Stored

_POSITION: Final = re.compile(r"[0-9]{1,10}:[0-9]{1,18}(?:,[0-9]{1,10}:[0-9]{1,18})*")
_LONGEST: Final = 100_000  # characters: thousands of partitions

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_Read = Callable[[int, int], Awaitable[tuple[Sequence[Entry], int]]]


class KafkaHistory:
    """Reads on connections of its own, so that it waits for no trigger that catches up.

    A call keeps ``limit`` events without their payloads, and a chunk of each partition.
    """

    def __init__(self, options: ClientOptions, topic: str, offsets: Offsets) -> None:
        self._topic = topic
        self._offsets = offsets
        self._rereading = Rereading(options)

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        await self._rereading.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._rereading.__aexit__(*exc)

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        """See `broker.ports.Channel.history`. What is no CloudEvent is left out.

        Partitions are merged by time, and within one the order is that of the offsets, whatever
        the clocks of those who appended said. A position tells up to which offset each partition
        was read, so that the pages have every event once.
        """
        reached = offsets_of(after)
        if since is None:
            starts = await self._offsets.beginnings(self._topic)
        else:
            # Nothing of that millisecond or later stands before these, by whatever clock.
            millisecond = since.replace(microsecond=since.microsecond // 1000 * 1000)
            starts = await self._offsets.at_time(self._topic, millisecond)
        ends = await self._offsets.ends(self._topic)
        for number in ends:
            reached[number] = max(reached.get(number, 0), starts.get(number, 0))
        is_wanted = _wanted(since, id)
        ways = {
            number: _Way(
                partial(self._read, number, is_wanted), start=reached[number], end=end, step=limit
            )
            for number, end in ends.items()
        }
        return await _merged(ways, reached, limit)

    async def _read(
        self, partition: int, wanted: Callable[[Entry], bool], start: int, end: int
    ) -> tuple[Sequence[Entry], int]:
        return await self._rereading.read(
            TopicPartition(self._topic, partition), start, end, wanted
        )


class _Way:
    """The events that are looked for in one partition, from ``start`` on and before ``end``.

    ``step`` is how many records are read at first, and twice as many each time.
    """

    def __init__(self, read: _Read, *, start: int, end: int, step: int) -> None:
        self._read = read
        self._next = start
        self._end = end
        self._step = step
        self._ahead: deque[Entry] = deque()

    async def next(self) -> Entry | None:
        """Return the next event without its payload, or None behind the last one."""
        while not self._ahead and self._next < self._end:
            end = min(self._next + self._step, self._end)
            entries, reached = await self._read(self._next - 1, end - 1)
            self._ahead.extend([replace(each, event=each.event.without_data()) for each in entries])
            self._next = reached + 1
            self._step *= 2
        return self._ahead.popleft() if self._ahead else None


async def _merged(
    ways: Mapping[int, _Way], reached: dict[int, int], limit: int
) -> Sequence[Stored]:
    """Return up to ``limit`` events of all the partitions; note the offsets behind them."""
    found: list[Stored] = []
    heads: list[tuple[int, int, Entry]] = []  # one of a partition, so that no entry is compared
    to_advance = list(ways)
    while len(found) < limit:
        for number in to_advance:
            entry = await ways[number].next()
            if entry is not None:
                heappush(heads, (entry.at, number, entry))
        if not heads:
            break
        # An event that is older than the one before it in its partition is first by itself.
        at, number, entry = heappop(heads)
        reached[number] = entry.position + 1
        found.append(
            Stored(
                position=position_of(reached),
                at=_EPOCH + timedelta(microseconds=at),
                event=entry.event,
                to=entry.to,
            )
        )
        to_advance = [number]
    return found


def _wanted(since: datetime | None, id: str | None) -> Callable[[Entry], bool]:
    earliest = 0 if since is None else (since - _EPOCH) // _MICROSECOND
    return lambda entry: entry.at >= earliest and id in (None, entry.event.id)


def position_of(reached: Mapping[int, int]) -> str:
    """Return the text of the partitions' offsets from which on there is more to read."""
    return ",".join([f"{number}:{reached[number]}" for number in sorted(reached)])


def offsets_of(position: str | None) -> dict[int, int]:
    """Return the offsets that the position is the text of; raises `ValueError` if of none."""
    if position is None:
        return {}
    if len(position) <= _LONGEST and _POSITION.fullmatch(position):
        pairs = [each.split(":") for each in position.split(",")]
        found = {int(number): int(offset) for number, offset in pairs}
        if position_of(found) == position:
            return found
    raise ValueError(f"'{position[:64]}' is not a position that the channel gave")
