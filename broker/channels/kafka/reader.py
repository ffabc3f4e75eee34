"""Reads on in the partitions that this process holds, each from where it was swept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final, Protocol

from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError

from broker.channels.kafka.batches import handfuls_in
from broker.channels.kafka.compacted import PATIENCE, Read, unreadable
from broker.channels.kafka.connecting import at, open_client, said
from broker.channels.kafka.fetches import Fetches
from broker.channels.kafka.sessions import Fetched
from broker.channels.kafka.settings import ClientOptions
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

_AT_ONCE: Final = 500  # records, swept in about 10 ms: nothing else runs meanwhile
_WAIT: Final = timedelta(milliseconds=500)
_TRIES_EVERY: Final = 0.5


class Sweeping(Protocol):
    """What is done with the records of one partition."""

    @property
    def next(self) -> int:
        """From which offset on to read."""
        ...

    async def take(self, records: Sequence[Read], reached: int) -> None:
        """Return once these records are swept, which are all there are up to ``reached``."""
        ...


class Reader:
    """One client that fetches, and is opened again after a fault.

    ``fetch_bytes`` are fetched of a partition before they are swept. ``delay`` is how long the
    records of a topic are held back, counted from their timestamps. ``wait`` is how long a fetch
    waits for something new while there are records at hand: a partition that was not part of it,
    as it had records held back, waits as long for its next ones.
    """

    def __init__(
        self,
        options: ClientOptions,
        *,
        fetch_bytes: int,
        wait: timedelta = _WAIT,
        delay: Callable[[str], timedelta] = lambda _: timedelta(0),
    ) -> None:
        self._options = options
        self._fetch_bytes = fetch_bytes
        self._wait = wait
        self._delay = delay
        self._partitions: Mapping[TopicPartition, Sweeping] = {}
        self._positions: dict[TopicPartition, int] = {}
        self._held_back: dict[TopicPartition, Sequence[Read]] = {}
        self._trouble = Trouble()
        self._assigned = asyncio.Event()
        self._news = asyncio.Event()
        self._changed = False

    def assign(self, partitions: Mapping[TopicPartition, Sweeping]) -> None:
        """Read these partitions from now on, and no others."""
        self._partitions = dict(partitions)
        self._changed = True
        self._assigned.set()
        self._news.set()

    async def run(self) -> None:
        """Read until cancelled, whatever outages there are."""
        while True:
            await self._assigned.wait()
            try:
                await self._read_on()
            except (KafkaError, OSError) as error:
                why = ChannelUnavailable(f"{at(self._options)}: {said(error)}")
                self._trouble.met("cannot read", why)
            except ChannelUnavailable as error:
                self._trouble.met("cannot read", error)
            await asyncio.sleep(_TRIES_EVERY)

    async def _read_on(self) -> None:
        client = await open_client(self._options, answers_within=PATIENCE)
        fetches = Fetches(client, partition_bytes=self._fetch_bytes, on_news=self._news.set)
        self._changed = True
        try:
            while True:
                if self._changed:
                    self._begin(fetches)
                await self._turn(fetches)
        finally:
            await fetches.close()

    def _begin(self, fetches: Fetches) -> None:
        """Begin anew where each partition was swept: nothing that was fetched before counts."""
        self._changed = False
        self._held_back.clear()
        self._positions = {each: sweeping.next for each, sweeping in self._partitions.items()}
        fetches.of(self._partitions)

    async def _turn(self, fetches: Fetches) -> None:
        for partition, records in list(self._held_back.items()):
            await self._take(partition, records, records[-1].offset)
            if self._changed:
                return
        wanted = {
            each: offset for each, offset in self._positions.items() if each not in self._held_back
        }
        fetches.ask(wanted, self._wait if self._held_back else _WAIT)
        if await self._wait_for_news():
            return
        errors: list[ChannelUnavailable | KafkaError] = []
        for partition, fetched in fetches.take().items():
            # Of what was asked for before the last assignment, nothing is of use any more.
            if self._positions.get(partition) == fetched.asked:
                try:
                    await self._hand_out(partition, fetched)
                except (ChannelUnavailable, KafkaError) as error:
                    errors.append(error)
            if self._changed:
                return
        if errors:  # all others have what is theirs by now
            raise errors[0]

    async def _wait_for_news(self) -> bool:
        """Return once something was fetched or assigned, or is to be held back no longer.

        And whether it was assigned: then what was fetched is of no use any more.
        """
        due: asyncio.TimerHandle | None = None
        if self._held_back:
            left = min(self._left(at_.topic, rest[0]) for at_, rest in self._held_back.items())
            due = asyncio.get_running_loop().call_later(max(0, left), self._news.set)
        await self._news.wait()
        if not self._changed:  # otherwise what was fetched is still to be taken, and dropped
            self._news.clear()
        if due is not None:
            due.cancel()
        return self._changed

    async def _hand_out(self, partition: TopicPartition, fetched: Fetched) -> None:
        if fetched.error is not None and not fetched.error.retriable:
            raise fetched.error
        self._positions[partition] = fetched.begins
        try:
            for records, on in handfuls_in(fetched.batches, partition, fetched.begins, _AT_ONCE):
                self._positions[partition] = on
                await self._take(partition, records, on - 1)
                await asyncio.sleep(0)  # others have their turn
                if self._changed:
                    return
        except (CorruptRecordException, UnsupportedCodecError) as error:
            offset = self._positions[partition]
            raise unreadable(partition, offset, self._options, error) from error

    async def _take(self, partition: TopicPartition, records: Sequence[Read], reached: int) -> None:
        """Sweep what need not be held back any longer."""
        due = 0
        if not self._delay(partition.topic):
            due = len(records)
        while due < len(records) and self._left(partition.topic, records[due]) <= 0:
            due += 1
        if due < len(records):
            self._held_back[partition] = records[due:]
            reached = records[due].offset - 1
        else:
            self._held_back.pop(partition, None)
        if due or not records:
            await self._partitions[partition].take(records[:due], reached)

    def _left(self, topic: str, record: Read) -> float:
        """Return for how many seconds the record is to be held back."""
        return record.timestamp / 1000 + self._delay(topic).total_seconds() - time.time()
