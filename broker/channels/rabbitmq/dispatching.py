"""Being a dispatcher of a broker: which queues messages come from, and where they are put."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator, Sequence
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
_AGAIN_AFTER: Final = 1.0
_FED_AT_ONCE: Final = 8
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
        self._ahead: dict[str, int] = {}
        self._turns = asyncio.Semaphore(_FED_AT_ONCE)
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
                self._spawn(self._feed(session, self.places[trigger]))
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
        former = self.cursors.get(trigger)
        if former is None:
            place.begin(filter)
        async with self._turns, self._changing[trigger]:
            queues = await self._feeding.queues(place, filter, ordered=ordered)
            cursor = RabbitmqCursor(place, window, self.settling.submit)
            if former is not None:
                former.retire()
            self.cursors[trigger] = cursor
            self._ahead[trigger] = prefetch(window, ordered=ordered)
            place.enter(cursor.wake, ordered=ordered)
            try:
                await self._consume(session, place, queues)
            except ChannelUnavailable as error:
                self._trouble.met("cannot consume", error, trigger=trigger)
                self._spawn(self._feed(session, place))
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
                for each in [each for each in session.consumers.values() if each.place is place]:
                    await session.stop(each.queue)
            session.give_back(_tags(place.give_back(), session))

    async def remove(self, trigger: str) -> bool:
        """Delete the trigger's queues, and note where they stood. Return whether it had any.

        Raises `ChannelUnavailable`.
        """
        async with self._changing[trigger]:
            if trigger in self.cursors:
                return False
            return await self._feeding.remove(trigger, self.places.get(trigger))

    # --- where messages come from ----------------------------------------------------------

    async def _feed(self, session: Session, place: Place) -> None:
        """Let messages come from the trigger's queues, as soon as they can, in this session."""
        while self._session is session and place.subscribed:
            try:
                async with self._turns, self._changing[place.trigger]:
                    queues = await self._feeding.queues(
                        place, place.filter, ordered=place.is_ordered
                    )
                    await self._consume(session, place, queues)
            except (ChannelUnavailable, ChannelFull) as error:
                self._trouble.met("cannot consume", error, trigger=place.trigger)
                await asyncio.sleep(_AGAIN_AFTER)
            else:
                return

    async def _consume(self, session: Session, place: Place, queues: Sequence[str]) -> None:
        """Let messages come from these queues. What is in order comes when all else has."""
        ahead = self._ahead[place.trigger]
        later: list[str] = []
        for queue in queues:
            consumer = session.consumers.get(queue)
            if consumer is not None and consumer.prefetch == ahead:
                continue
            await session.stop(queue)
            if place.is_ordered and self._feeding.is_ordered(place.trigger, queue):
                later.append(queue)
            else:
                await session.consume(place, queue, ahead)
        if later and len(queues) > 1:
            self._spawn(self._consume_in_order(session, place, later))
        else:
            for queue in later:
                await session.consume(place, queue, ahead)

    async def _consume_in_order(
        self, session: Session, place: Place, queues: Sequence[str]
    ) -> None:
        """Consume from these once nothing is left in the trigger's other queues."""
        try:
            while place.is_ordered and self._session is session:
                others = [each for each in session.consumers.values() if each.place is place]
                for consumer in others:
                    await session.count(consumer)
                if not any(place.ready[each.queue] for each in others):
                    for queue in queues:
                        await session.consume(place, queue, self._ahead[place.trigger])
                    return
                await asyncio.sleep(_AGAIN_AFTER)
        except ChannelUnavailable as error:  # the next session does it
            self._trouble.met("cannot consume", error, trigger=place.trigger)

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

    async def _is_known(self) -> None:
        try:
            await self._state.barrier()
        except ChannelFull as error:  # what ends an alarm may be just what is in doubt
            self._trouble.met("cannot tell what was settled", error)

    # --- what is lost ----------------------------------------------------------------------

    def _gone(self, consumer: Consumer) -> None:
        """The server has taken a queue away."""
        session, place = self._session, consumer.place
        if session is not None and place.subscribed:
            place.ready[consumer.queue] = 0
            self._lose(place, consumer)
            self._spawn(self._see_to(session, consumer))

    async def _see_to(self, session: Session, consumer: Consumer) -> None:
        """Feed the place of a queue that is gone, unless the trigger was removed."""
        trigger = consumer.place.trigger
        extra = {"trigger": trigger, "queue": consumer.queue}
        is_removed = False
        with suppress(CemeshError):  # then it is found out when it is fed
            is_removed = await self._feeding.is_removed(trigger)
        if is_removed:
            _log.warning("trigger was removed by another process", extra=extra)
            return
        _log.warning("queue was deleted", extra=extra)
        await self._feed(session, consumer.place)

    def _lose(self, place: Place, consumer: Consumer) -> None:
        """Let go of what has come from a queue that is gone, or from a connection that is."""
        gone = place.lose(consumer.queue)
        place.ready[consumer.queue] += gone + consumer.let_go()


def _tags(deliveries: Iterable[Delivery], session: Session) -> list[int]:
    """Return by what these are given back, as far as they came in this session."""
    receipts = [each.receipt for each in deliveries]
    return [each.tag for each in receipts if each is not None and each.session is session]
