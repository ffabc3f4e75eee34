"""Being a dispatcher of a broker: which queues messages come from, and where they are put."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiormq.abc import AbstractConnection

from broker.channels.rabbitmq.connecting import reported
from broker.channels.rabbitmq.cursor import RabbitmqCursor
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.delivery import Delivery
from broker.channels.rabbitmq.feeding import Feeding
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.receiving import Receiving
from broker.channels.rabbitmq.returned import Returned
from broker.channels.rabbitmq.session import Consumer, Session
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
_OPENS_WITHIN: Final = 10.0
_AGAIN_AFTER: Final = 2.0
_SETTLES_WITHIN: Final = 3.0

_log: Final = logging.getLogger("cemesh.channel")


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
    """The places of all triggers that this process has subscribed, and where they are fed from.

    While there is no connection, what nobody has claimed is let go of: the server has it.
    """

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
        self._link = means.link
        self._state = means.state
        self._feeding = means.feeding
        self._trouble = means.trouble
        self._windows: dict[str, int] = {}
        self._session: Session | None = None
        self._is_open = asyncio.Event()
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Be a dispatcher until `stop` is called; then store what became of what was in hand."""
        self.settling.of(self.places.values)
        async with asyncio.TaskGroup() as group:
            self._group = group
            settling = group.create_task(self.settling.run())
            serving = [
                group.create_task(self._link.keep(each))
                for each in (self.serve, self._returned.serve)
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
            for task in (settling, *serving, *self._tasks):
                task.cancel()

    def stop(self) -> None:
        self._stopping.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def serve(self, _: AbstractConnection) -> None:
        """Take messages over a connection until it is lost. Raises `ChannelUnavailable`."""
        session = Session(
            await self._link.open_channel(),
            self._link.settings,
            take=self._receiving.take,
            is_known=self._is_known,
            on_gone=self._gone,
            trouble=self._trouble,
        )
        running = asyncio.ensure_future(session.run())
        try:
            self._session = session
            self._is_open.set()
            for trigger in list(self.cursors):
                self._spawn(self._feed_again(session, self.places[trigger]))
            await running
        finally:
            self._session = None
            self._is_open.clear()
            running.cancel()
            await asyncio.wait([running])
            for consumer in session.consumers.values():
                self._lose(consumer.place, consumer)

    async def session(self) -> Session:
        """Return by what is consumed now. Raises `ChannelUnavailable` if there is no connection."""
        if self._link.trouble is not None:
            raise ChannelUnavailable(self._link.trouble)
        with reported(self._link.settings):
            async with asyncio.timeout(_OPENS_WITHIN):
                await self._is_open.wait()
        if self._session is None:
            raise ChannelUnavailable(self._link.trouble or "the connection was lost just now")
        return self._session

    # --- subscriptions ---------------------------------------------------------------------

    async def enter(
        self, trigger: str, filter: Filter, window: int, *, ordered: bool
    ) -> RabbitmqCursor:
        """Return a cursor for the trigger, which takes the place of its former one, if any."""
        session = await self.session()
        place = self.places.get(trigger)
        if place is None:
            place = self.places[trigger] = Place(trigger, filter)
        cursor = RabbitmqCursor(place, window, self.settling.submit)
        former = self.cursors.get(trigger)
        if former is None:
            place.begin(filter)
        else:
            former.retire()
        self.cursors[trigger] = cursor
        self._windows[trigger] = window
        place.enter(cursor.wake, ordered=ordered)
        try:
            await self._feed(session, place, filter)
        except BaseException:
            await self.leave(trigger, cursor)
            raise
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
        session = self._session
        if session is None:
            return
        async with self._changing[trigger]:
            with suppress(ChannelUnavailable):
                for queue in [each.queue for each in session.consumers.values()]:
                    if session.consumers[queue].place is place:
                        await session.stop(queue)
            session.give_back(_tags(place.give_back(), session))

    async def remove(self, trigger: str) -> None:
        """Delete the trigger's queues, and note where they stood. Raises `ChannelUnavailable`."""
        async with self._changing[trigger]:
            if trigger not in self.cursors:
                await self._feeding.remove(trigger, self.places.get(trigger))

    # --- where messages come from ----------------------------------------------------------

    async def _feed(self, session: Session, place: Place, filter: Filter) -> None:
        """Let messages come from the trigger's queues, which are made, or mended, or bound anew.

        Raises `ChannelUnavailable`.
        """
        trigger = place.trigger
        async with self._changing[trigger]:
            ahead = prefetch(self._windows[trigger], ordered=place.is_ordered)
            for queue in await self._feeding.queues(place, filter):
                if queue not in session.consumers:
                    await session.consume(place, queue, ahead)

    async def count(self) -> None:
        """Find out how much is in the queues. Raises `ChannelUnavailable`."""
        session = self._session
        if session is not None:
            for consumer in list(session.consumers.values()):
                await session.count(consumer)

    def _subscribed_place(self, trigger: str) -> Place | None:
        return self.places[trigger] if trigger in self.cursors else None

    def subscribed(self) -> Iterator[tuple[str, Place]]:
        """Yield the triggers that are subscribed here, with their places."""
        return ((trigger, self.places[trigger]) for trigger in self.cursors)

    async def _feed_again(self, session: Session, place: Place) -> None:
        """Feed a place that is subscribed, for as long as this session lasts."""
        while self._session is session and place.subscribed:
            try:
                await self._feed(session, place, place.filter)
            except ChannelUnavailable as error:
                self._trouble.met("cannot consume", error, trigger=place.trigger)
                await asyncio.sleep(_AGAIN_AFTER)
            else:
                return

    async def _is_known(self) -> None:
        try:
            await self._state.barrier()
        except ChannelFull as error:  # what ends an alarm may be just what is in doubt
            self._trouble.met("cannot tell what was settled", error)

    # --- what is lost ----------------------------------------------------------------------

    def _gone(self, consumer: Consumer) -> None:
        """The server has taken a queue away."""
        session, place = self._session, consumer.place
        if session is None or not place.subscribed:
            return
        extra = {"trigger": place.trigger, "queue": consumer.queue}
        if self._feeding.is_removed(place.trigger):
            _log.warning("trigger was removed by another process", extra=extra)
            return
        _log.warning("queue was deleted", extra=extra)
        place.ready[consumer.queue] = 0
        self._lose(place, consumer)
        self._spawn(self._feed_again(session, place))

    def _lose(self, place: Place, consumer: Consumer) -> None:
        """Let go of what has come from a queue that is gone, or from a connection that is."""
        gone = place.lose(consumer.queue)
        place.ready[consumer.queue] += gone + len(consumer.in_doubt)


def _tags(deliveries: Iterable[Delivery], session: Session) -> list[int]:
    """Return by what these are given back, as far as they came in this session."""
    receipts = [each.receipt for each in deliveries]
    return [each.tag for each in receipts if each is not None and each.session is session]
