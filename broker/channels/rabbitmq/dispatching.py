"""Being a dispatcher of a broker: which queues messages come from, and where they are put."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from broker.channels.rabbitmq.consuming import Consuming
from broker.channels.rabbitmq.cursor import RabbitmqCursor
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.feeding import Feeding
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.receiving import Receiving
from broker.channels.rabbitmq.returned import Returned
from broker.channels.rabbitmq.settling import Settling
from broker.channels.rabbitmq.stamps import Stamps
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.topology import Topology
from broker.channels.rabbitmq.waiting import Waiting
from broker.channels.trouble import Trouble
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable
from broker.filters import Filter

_ORDERED_AHEAD: Final = 5_000
"""Messages of an ordered trigger that are in hand: of one key that is held up, and behind it."""

_LEAST_AHEAD: Final = 20
_SETTLES_WITHIN: Final = 3.0


def prefetch(window: int, *, ordered: bool) -> int:
    """Return how many messages come ahead: those to claim next while others are being acked."""
    return max(_ORDERED_AHEAD if ordered else _LEAST_AHEAD, 2 * window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a dispatcher of a broker works with."""

    link: Link
    topology: Topology
    state: State
    publishing: Publishing
    stamps: Stamps
    feeding: Feeding
    waiting: Waiting
    dead_letters: RabbitmqDeadLetters
    trouble: Trouble


class Dispatching:
    """The places of all triggers that this process has subscribed, and what becomes of them."""

    def __init__(self, means: Means) -> None:
        self.places: dict[str, Place] = {}
        self.cursors: dict[str, RabbitmqCursor] = {}
        self.settling: Final = Settling(
            means.state, means.waiting, means.dead_letters, means.trouble, self._spawn
        )
        self._receiving = Receiving(
            means.state, self.settling, means.dead_letters, means.trouble, self._spawn
        )
        self._returned = Returned(
            means.link,
            means.topology,
            means.state,
            means.publishing,
            means.stamps,
            self.settling,
            means.dead_letters,
            means.trouble,
            self._subscribed_place,
            self._spawn,
        )
        self._consuming = Consuming(
            means.link,
            means.feeding,
            means.trouble,
            take=self._receiving.take,
            is_known=self._is_known,
            subscribed=self._subscribed_places,
            spawn=self._spawn,
        )
        self._link = means.link
        self._state = means.state
        self._feeding = means.feeding
        self._trouble = means.trouble
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def run(self) -> None:
        """Be a dispatcher until `stop` is called; then store what became of what was in hand."""
        self.settling.of(self.places.values)
        async with asyncio.TaskGroup() as group:
            self._group = group
            settling = group.create_task(self.settling.run())
            serving = [
                group.create_task(self._link.keep(each))
                for each in (self._consuming.serve, self._returned.serve)
            ]
            await self._stopping.wait()
            try:
                async with asyncio.timeout(_SETTLES_WITHIN):
                    await self.settling.settled()
                    settling.cancel()
                    await asyncio.wait([settling])
                    await self.settling.end()
            except (CemeshError, TimeoutError) as error:
                self._trouble.met("cannot store what was settled", ChannelUnavailable(str(error)))
            self._is_over = True
            for task in (settling, *serving, *self._tasks):
                task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._is_over:  # messages come as long as there is a connection
            work.close()
            return
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- subscriptions ---------------------------------------------------------------------

    async def enter(
        self, trigger: str, filter: Filter, window: int, *, ordered: bool
    ) -> RabbitmqCursor:
        """Return a cursor for the trigger, which takes the place of its former one, if any."""
        intake = await self._consuming.intake()
        place = self.places.get(trigger)
        if place is None:
            place = self.places[trigger] = Place(trigger, filter)
        former = self.cursors.get(trigger)
        if former is None:
            place.begin(filter)
        async with self._consuming.turn(trigger):
            queues = await self._feeding.queues(place, filter, ordered=ordered)
            cursor = RabbitmqCursor(place, window, self.settling.submit)
            if former is not None:
                former.retire()
            self.cursors[trigger] = cursor
            place.enter(cursor.wake, ordered=ordered)
            ahead = prefetch(window, ordered=ordered)
            await self._consuming.begin(intake, place, queues, ahead)
        return cursor

    async def leave(self, trigger: str, cursor: RabbitmqCursor) -> None:
        """Let the cursor go, with what it has out."""
        cursor.retire()
        cursor.return_claims()
        if self.cursors.get(trigger) is not cursor:
            return
        del self.cursors[trigger]
        place = self.places[trigger]
        place.leave()
        async with self._consuming.changing(trigger):
            if place.is_ordered:  # what is not acked then goes to others
                await self._settle(place)
            await self._consuming.stop(place)

    async def _settle(self, place: Place) -> None:
        """Have stored what was decided of the place, unless the server keeps it waiting."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLES_WITHIN):
                await self.settling.settled(place)

    async def remove(self, trigger: str) -> bool:
        """Delete the trigger's queues, and note where they stood. Return whether it had any.

        Raises `ChannelUnavailable`.
        """
        async with self._consuming.changing(trigger):
            if trigger in self.cursors:
                return False
            place = self.places.get(trigger)
            if place is not None:  # so that it is noted as done with
                await self._settle(place)
            return await self._feeding.remove(trigger, place)

    def _subscribed_place(self, trigger: str) -> Place | None:
        return self.places[trigger] if trigger in self.cursors else None

    def subscribed(self) -> Iterator[tuple[str, Place]]:
        """Yield the triggers that are subscribed here, with their places."""
        return ((trigger, self.places[trigger]) for trigger in self.cursors)

    def _subscribed_places(self) -> Iterable[Place]:
        return [self.places[trigger] for trigger in self.cursors]

    async def count(self) -> None:
        """Find out how much is in the queues. Raises `ChannelUnavailable`."""
        await self._consuming.count()

    async def _is_known(self) -> None:
        try:
            await self._state.barrier()
        except ChannelFull as error:  # what ends an alarm may be just what is in doubt
            self._trouble.met("cannot tell what was settled", error)
