"""The shares that this process holds: taken over, worked on, and given up as the group says.

The group agrees at once, whatever is under way. So whoever is to have a share waits for a while
until whoever has it says that it is free; and whoever had one goes on with what it keeps.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from aiokafka import TopicPartition

from broker.channels.kafka.cursor import KafkaCursor
from broker.channels.kafka.leaving import Leaving, let_go
from broker.channels.kafka.membership import Assignment
from broker.channels.kafka.partition import Partition, StoredPartition
from broker.channels.kafka.shares import Names, Share, is_free, stored_partitions
from broker.channels.kafka.state import StateTopic
from broker.channels.kafka.waiting import until
from broker.channels.trouble import Trouble
from broker.errors import CemeshError

_log: Final = logging.getLogger("cemesh.channel")

_TAKEN_AFTER: Final = timedelta(seconds=5)
"""After how long a share is taken over that nobody has freed: whoever had it is gone."""

_TRIES_EVERY: Final = 0.5
_FLUSHES_EVERY: Final = 0.25

Open = Callable[[TopicPartition, str, StoredPartition], Partition]


class Holding:
    """What of a broker's topic this process sweeps and delivers from.

    ``open_partition`` makes a `Partition` of what is stored of it. ``kept_from`` returns from
    which offset on each partition of events is kept. ``on_held`` is told the shares to read
    whenever they are others. ``cursors`` yields all that may have claims out.
    """

    def __init__(
        self,
        *,
        state: StateTopic,
        names: Names,
        open_partition: Open,
        kept_from: Callable[[], Awaitable[Mapping[int, int]]],
        on_held: Callable[[Iterable[Share]], None],
        cursors: Callable[[], Iterable[KafkaCursor]],
        trouble: Trouble,
    ) -> None:
        self._me = uuid.uuid4().hex
        self._state = state
        self._names = names
        self._open = open_partition
        self._kept_from = kept_from
        self._on_held = on_held
        self._subscribed: dict[str, tuple[KafkaCursor, Mapping[int, int]]] = {}
        self._shares: dict[int, Share] = {}
        self._leaving = Leaving(cursors)
        self._assignment: Assignment | None = None
        self._news = asyncio.Event()
        self._settled = False
        self._trouble = trouble

    # --- who has what ----------------------------------------------------------------------

    def held(self) -> Collection[int]:
        """Return the numbers of the shares that are held."""
        return self._shares.keys()

    def shares(self) -> Iterable[Share]:
        return self._shares.values()

    def assign(self, assignment: Assignment) -> None:
        """Note what the group has agreed on."""
        self._assignment = assignment
        self._settled = False
        self._news.set()

    @property
    def is_settled(self) -> bool:
        """Whether what is held is what the group has agreed on."""
        return self._settled

    async def run(self) -> None:
        """Take over and give up as the group says, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._assignment is None:
                continue
            try:
                await self._follow(self._assignment)
            except CemeshError as error:
                self._trouble.met("cannot take over", error)
                await asyncio.sleep(_TRIES_EVERY)
                self._news.set()

    async def _follow(self, assignment: Assignment) -> None:
        lost = [each for each in self.shares() if each.number not in assignment.partitions]
        await self._release_all(lost)
        await self._state.caught_up()
        for share in list(self.shares()):
            if not is_free(self._state, share.number, self._me):
                self._lose(share)
        gained = assignment.partitions.difference(self.held())
        if gained and not await self._take(gained, assignment):
            self._news.set()
        elif assignment is self._assignment:
            self._settled = True

    async def _take(self, numbers: Collection[int], assignment: Assignment) -> bool:
        """Take these shares over; return False if others or the group came between."""
        kept_from = await self._kept_from()
        await until(
            lambda: (
                assignment is not self._assignment
                or all(is_free(self._state, each, self._me) for each in numbers)
            ),
            within=_TAKEN_AFTER,
        )
        if assignment is not self._assignment:
            return False
        # Higher than what anybody has written by, and than what anybody else can take now.
        epoch = self._state.epoch() + 1 + assignment.generation
        shares = self._opened(numbers, epoch)
        claimed = await asyncio.gather(*(share.claim() for share in shares))
        for share, mine in zip(shares, claimed, strict=True):
            if mine:
                _pass_over_removed(share, kept_from.get(share.number, 0))
                self._shares[share.number] = share
                for trigger in self._subscribed:
                    self._enter(trigger, share)
                for partition in share:
                    partition.note_absent()
        self._tell()
        _log.info("partitions taken over", extra={"partitions": sorted(numbers), "epoch": epoch})
        return all(claimed)

    def _opened(self, numbers: Collection[int], epoch: int) -> list[Share]:
        names = {number: self._names.partitions(number) for number in numbers}
        wanted = [name for each in names.values() for name in each.values()]
        stored = stored_partitions(self._state, wanted)
        return [
            Share(
                number,
                {
                    at: self._open(at, name, stored[name] or self._new(at))
                    for at, name in partitions.items()
                },
                state=self._state,
                epoch=epoch,
                me=self._me,
            )
            for number, partitions in names.items()
        ]

    def _new(self, at: TopicPartition) -> StoredPartition:
        """Return a partition that nobody has held: it is read from where the first trigger begins.

        One that begins before that, in another process, reads by itself what is between.
        """
        swept = -1
        if at.topic == self._names.events and self._subscribed:
            swept += min(begins.get(at.partition, 0) for _, begins in self._subscribed.values())
        return StoredPartition(swept=swept, places={})

    async def _release_all(self, shares: Sequence[Share]) -> None:
        """Give these up: nothing more is taken from them here."""
        if shares:
            for share in shares:
                self._shares.pop(share.number, None)
            self._tell()
            await self._leaving.give_up(shares)

    def _lose(self, share: Share) -> None:
        """Forget a share that another process has taken over."""
        del self._shares[share.number]
        let_go(share)
        self._tell()
        extra = {"topic": share.topic, "partition": share.number}
        _log.warning("partition taken over by another process", extra=extra)

    def _tell(self) -> None:
        self._on_held(self.shares())

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, trigger: str, cursor: KafkaCursor, begins: Mapping[int, int]) -> None:
        """Let the cursor claim from all that is held, now and later.

        ``begins`` says where the trigger begins in a partition of events where it has no place.
        """
        self._subscribed[trigger] = (cursor, begins)
        for share in self.shares():
            self._enter(trigger, share)

    def leave(self, trigger: str) -> None:
        del self._subscribed[trigger]
        for share in self.shares():
            for partition in share:
                partition.leave(trigger)

    def _enter(self, trigger: str, share: Share) -> None:
        cursor, begins = self._subscribed[trigger]
        share.events.enter(trigger, cursor, behind=begins.get(share.number, 0) - 1)
        for delays in share.delays:
            if trigger in delays.places():  # or else it gets one when something comes for it
                delays.enter(trigger, cursor)

    # --- storing ---------------------------------------------------------------------------

    async def keep_flushing(self) -> None:
        """Store what has changed a few times a second, until cancelled."""
        while True:
            await asyncio.sleep(_FLUSHES_EVERY)
            await self.flush()

    async def flush(self) -> bool:
        """Store what has changed; return False if some of it cannot be stored now."""
        return all(await asyncio.gather(*map(self._flush, list(self.shares()))))

    async def _flush(self, share: Share) -> bool:
        try:
            # Two that take over at once may do so under the same epoch: then one of them prevails.
            mine = await share.flush() and is_free(self._state, share.number, self._me)
        except CemeshError as error:
            self._trouble.met("places not stored", error, partition=share.number)
            return False
        if not mine and self._shares.get(share.number) is share:
            self._lose(share)
            self._settled = False
            self._news.set()
        return mine

    async def close(self) -> None:
        """Give up all that is held, once `run` is cancelled, and what that was giving up."""
        self._assignment = None
        await self._release_all([*self.shares(), *self._leaving])


def _pass_over_removed(share: Share, kept_from: int) -> None:
    """Tell of events that are gone: nobody read them for longer than the topic keeps them."""
    first = share.events.swept + 1
    if first < kept_from:
        extra = {"topic": share.topic, "partition": share.number}
        extra |= {"from": first, "to": kept_from - 1}
        _log.error("events are gone: the topic's retention removed them unread", extra=extra)
        share.events.skip(kept_from - 1)
