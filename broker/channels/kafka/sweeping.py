"""What becomes of the records of a partition that this process holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from broker.channels.kafka.compacted import Read
from broker.channels.kafka.cursor import PutOff
from broker.channels.kafka.deadletters import KafkaDeadLetters
from broker.channels.kafka.delays import Delays, goes_on
from broker.channels.kafka.entries import Entry, entry_of
from broker.channels.kafka.foreign import event_of_record
from broker.channels.kafka.partition import Partition
from broker.channels.trouble import Trouble
from broker.errors import CemeshError, InvalidEvent
from broker.ports import Refusal

_log: Final = logging.getLogger("cemesh.channel")

_RETRY: Final = 1.0

NOBODY: Final = ""
"""The trigger of a dead letter that was no event, and so for no trigger."""


class SweepingEvents:
    """Offers the events of a partition; what is none becomes a dead letter of the broker's own."""

    def __init__(
        self, partition: Partition, dead_letters: KafkaDeadLetters, trouble: Trouble
    ) -> None:
        self._partition = partition
        self._dead_letters = dead_letters
        self._trouble = trouble

    @property
    def next(self) -> int:
        return self._partition.swept + 1

    async def take(self, records: Sequence[Read], reached: int) -> None:
        with _in_hand(self._partition):
            for record in records:
                try:
                    entry = _entry(record)
                except InvalidEvent as error:
                    bury = partial(_bury, self._dead_letters, record, _no_event(error))
                    await _insist(bury, self._trouble)
                    self._partition.skip(record.offset)
                else:
                    self._partition.sweep(entry)
            self._partition.skip(reached)


class SweepingDelays:
    """Offers what was put off and is due to its trigger, and puts off again what is not.

    ``step`` is for how long the partition's topic delays; ``came_back`` is told which triggers
    something was offered to.
    """

    def __init__(
        self,
        partition: Partition,
        step: timedelta,
        delays: Delays,
        dead_letters: KafkaDeadLetters,
        trouble: Trouble,
        *,
        came_back: Callable[[Collection[str]], None],
    ) -> None:
        self._came_back = came_back
        self._partition = partition
        self._step = step
        self._delays = delays
        self._dead_letters = dead_letters
        self._trouble = trouble

    @property
    def next(self) -> int:
        return self._partition.swept + 1

    async def take(self, records: Sequence[Read], reached: int) -> None:
        due: list[Entry] = []
        later: list[PutOff] = []
        for record in records:
            try:
                entry = _entry(record)
            except InvalidEvent as error:
                bury = partial(_bury, self._dead_letters, record, _no_event(error))
                await _insist(bury, self._trouble)
                continue
            if entry.to is None:
                why = "nobody here has put it off: it names no trigger"
                bury = partial(_bury, self._dead_letters, record, why)
                await _insist(bury, self._trouble)
            elif entry.due is not None and goes_on(entry, self._step):
                later.append(_put_off(self._partition.number, entry, entry.to, entry.due))
            else:
                due.append(entry)
        with _in_hand(self._partition):
            if later:  # durably, before they are passed over here
                await _insist(lambda: self._delays.put_all_off(later), self._trouble)
            for entry in due:
                self._partition.sweep(entry)
            self._came_back({entry.to for entry in due if entry.to is not None})
            self._partition.skip(reached)


@contextmanager
def _in_hand(partition: Partition) -> Iterator[None]:
    """Let whoever is to give the partition up wait until it stands where its records say."""
    partition.in_hand = True
    try:
        yield
    finally:
        partition.in_hand = False


def _entry(record: Read) -> Entry:
    return entry_of(record.offset, record.timestamp, record.headers, record.value)


def _put_off(partition: int, entry: Entry, trigger: str, due: datetime) -> PutOff:
    return PutOff(
        partition=partition,
        trigger=trigger,
        event=entry.event,
        accepted=entry.accepted_at,
        due=due,
        attempts=entry.attempts,
        condemned=entry.condemned,
    )


def _no_event(error: InvalidEvent) -> str:
    return f"it is no CloudEvent: {error}"


async def _bury(dead_letters: KafkaDeadLetters, record: Read, reason: str) -> None:
    where = f"{record.topic}/{record.partition}"
    why = Refusal(
        destination=f"kafka:{where}",
        reason=reason,
        status=None,
        body=b"",
        attempts=0,
    )
    event = event_of_record(record)
    await dead_letters.bury(NOBODY, event, why, delivery=f"{where}/{record.offset}")
    named = {"event_id": event.id, "source": event.source}
    at = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    _log.warning("record buried", extra={**named, **at, "why": reason})


async def _insist(store: Callable[[], Awaitable[None]], trouble: Trouble) -> None:
    """Store it, however long that takes: what comes after it has to wait."""
    while True:
        try:
            with trouble.told("cannot store"):
                return await store()
        except CemeshError:
            await asyncio.sleep(_RETRY)
