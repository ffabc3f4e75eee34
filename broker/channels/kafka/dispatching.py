"""Being a dispatcher of a broker: a member of its group, with all that comes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from aiokafka import TopicPartition

from broker.channels.kafka.account import account
from broker.channels.kafka.cursor import KafkaCursor
from broker.channels.kafka.deadletters import KafkaDeadLetters
from broker.channels.kafka.delays import Delays
from broker.channels.kafka.holding import Holding
from broker.channels.kafka.layout import Layout
from broker.channels.kafka.membership import Membership
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.partition import Partition, StoredPartition
from broker.channels.kafka.reader import Reader, Sweeping
from broker.channels.kafka.rereading import LogOfTrigger, Rereading
from broker.channels.kafka.settings import ClientOptions
from broker.channels.kafka.shares import Names, Share
from broker.channels.kafka.state import StateTopic
from broker.channels.kafka.subscriptions import Subscriptions
from broker.channels.kafka.sweeping import SweepingDelays, SweepingEvents
from broker.channels.kafka.undone import group_of, tell_what_is_undone
from broker.channels.kafka.upkeep import commit_what_is_done, remove_what_came_back
from broker.channels.kafka.waiting import until
from broker.channels.trouble import Trouble
from broker.ports import Books

_EVENTS_AT_ONCE: Final = 1 << 20
_DELAYS_AT_ONCE: Final = 256 << 10
"""Bytes that are fetched of a partition before they are swept."""

_DELAYS_WAIT: Final = timedelta(milliseconds=100)
_SOON: Final = timedelta(seconds=1)


_CANCELS_AGAIN_AFTER: Final = 0.5


class Dispatching:
    """Sweeps and hands out what this process holds while `run` runs.

    Whoever subscribes is in ``subscriptions`` and, until all that it has out is done, in
    ``cursors``.
    """

    def __init__(
        self,
        options: ClientOptions,
        layout: Layout,
        group: str,
        *,
        state: StateTopic,
        offsets: Offsets,
        delays: Delays,
        dead_letters: KafkaDeadLetters,
        trouble: Trouble,
    ) -> None:
        self.subscriptions: Subscriptions[KafkaCursor] = Subscriptions()
        self.cursors: set[KafkaCursor] = set()
        self._options = options
        self._layout = layout
        self._delays = delays
        self._dead_letters = dead_letters
        self._trouble = trouble
        self._rereading = Rereading(options, trouble)
        self._events_reader = Reader(options, fetch_bytes=_EVENTS_AT_ONCE)
        self._delays_reader = Reader(
            options,
            fetch_bytes=_DELAYS_AT_ONCE,
            wait=_DELAYS_WAIT,
            delay=lambda topic: layout.delays[topic],
        )
        names = {str(step // timedelta(milliseconds=1)): at for at, step in layout.delays.items()}
        self._holding = Holding(
            state=state,
            names=Names(events=layout.events, delays=names, delayed=layout.delayed),
            open_partition=self._open,
            kept_from=lambda: offsets.beginnings(layout.events),
            on_held=self._read,
            cursors=lambda: self.cursors,
            trouble=trouble,
        )
        self._membership = Membership(
            options,
            group=group,
            topic=layout.events,
            held=self._holding.held,
            on_assigned=self._holding.assign,
        )
        self._undone = group_of(group)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Be a dispatcher until `stop` is called; then store where everything stands, and leave."""
        async with self._rereading, asyncio.TaskGroup() as group:
            self._group = group
            readers = [
                group.create_task(each.run()) for each in (self._events_reader, self._delays_reader)
            ]
            work = [
                group.create_task(each)
                for each in (
                    self._holding.run(),
                    self._holding.keep_flushing(),
                    commit_what_is_done(self._holding, self._membership),
                    remove_what_came_back(self._holding, self._options),
                    tell_what_is_undone(self._holding, self._options, self._undone),
                )
            ]
            member = group.create_task(self._membership.run())
            await self._stopping.wait()
            await _end(work)
            await self._holding.close()  # which lets the readers store what they have in hand
            for task in (*readers, member, *self._tasks):
                task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    # --- subscriptions ---------------------------------------------------------------------

    def enter(self, trigger: str, cursor: KafkaCursor, begins: Mapping[int, int]) -> None:
        """Let the cursor claim what is for the trigger, in place of its former one, if any."""
        former = self.subscriptions.put(trigger, cursor)
        if former is not None:
            former.retire()
        self.cursors.add(cursor)
        self._holding.enter(trigger, cursor, begins)

    def leave(self, trigger: str, cursor: KafkaCursor) -> None:
        """Let the cursor go, with what it has out."""
        cursor.retire()
        cursor.return_claims()
        self.cursors.discard(cursor)
        if self.subscriptions.get(trigger) is cursor:
            self.subscriptions.discard(trigger)
            self._holding.leave(trigger)

    # --- what is held ----------------------------------------------------------------------

    def _open(self, at: TopicPartition, name: str, stored: StoredPartition) -> Partition:
        step = self._layout.delays.get(at.topic)
        return Partition(
            at.partition,
            name,
            stored,
            subscriptions=self.subscriptions,
            log=lambda trigger: LogOfTrigger(self._rereading, at, trigger, step=step),
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read(self, shares: Iterable[Share]) -> None:
        events: dict[TopicPartition, Sweeping] = {}
        delays: dict[TopicPartition, Sweeping] = {}
        for share in shares:
            for at, partition in share.partitions.items():
                if at.topic == self._layout.events:
                    events[at] = SweepingEvents(partition, self._dead_letters, self._trouble)
                else:
                    delays[at] = SweepingDelays(
                        partition,
                        self._layout.delays[at.topic],
                        self._delays,
                        self._dead_letters,
                        self._trouble,
                        came_back=share.came_back,
                    )
        self._events_reader.assign(events)
        self._delays_reader.assign(delays)

    # --- looking on ------------------------------------------------------------------------

    async def caught_up(self, ends: Mapping[int, int]) -> None:
        """Return once all that is held is swept up to these offsets, or after a while."""
        await until(lambda: self._holding.is_settled and self._is_swept(ends), within=_SOON)

    def _is_swept(self, ends: Mapping[int, int]) -> bool:
        shares = self._holding.shares()
        return all(share.events.swept + 1 >= ends.get(share.number, 0) for share in shares)

    def books(self) -> Mapping[str, Books]:
        """Return the account of every trigger that is subscribed, over what is held."""
        return {trigger: self._account(trigger) for trigger, _ in self.subscriptions.items()}

    def _account(self, trigger: str) -> Books:
        return account(share.places(trigger) for share in self._holding.shares())


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel the tasks until all of them have ended.

    aiokafka keeps to itself a cancellation that comes while it closes a client.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCELS_AGAIN_AFTER)
