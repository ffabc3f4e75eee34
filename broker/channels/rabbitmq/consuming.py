"""Where the messages of subscribed triggers come from: their queues, over each connection anew."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from aiormq.abc import AbstractConnection

from broker.channels.rabbitmq.feeding import Feeding
from broker.channels.rabbitmq.intake import Intake
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.session import Consumer, Session, Take
from broker.channels.trouble import Trouble
from broker.connections.rabbitmq.connecting import reported
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable

_OPENS_WITHIN: Final = 10.0
_AGAIN_AFTER: Final = 1.0
_FED_AT_ONCE: Final = 8

_log: Final = logging.getLogger("cemesh.channel")


class Consuming:
    """Feeds the places that ``subscribed`` returns.

    While there is no connection, what nobody has claimed is let go of: the server has it.
    """

    def __init__(
        self,
        link: Link,
        feeding: Feeding,
        trouble: Trouble,
        *,
        take: Take,
        is_known: Callable[[], Awaitable[None]],
        subscribed: Callable[[], Iterable[Place]],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._link = link
        self._feeding = feeding
        self._trouble = trouble
        self._take = take
        self._is_known = is_known
        self._subscribed = subscribed
        self._spawn = spawn
        self._ahead: dict[str, int] = {}
        self._turns = asyncio.Semaphore(_FED_AT_ONCE)
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._intake: Intake | None = None
        self._is_open = asyncio.Event()

    # --- connections -----------------------------------------------------------------------

    async def serve(self, _: AbstractConnection) -> None:
        """Take messages over a connection until it is lost. Raises `ChannelUnavailable`."""
        intake = Intake(
            await self._open_session(),
            self._open_session,
            on_lost=self._lose,
            on_ended=self._ended,
            trouble=self._trouble,
        )
        running = asyncio.ensure_future(intake.run())
        try:
            self._intake = intake
            self._is_open.set()
            for place in self._subscribed():
                self._spawn(self._feed(intake, place))
            await running
        finally:
            self._intake = None
            self._is_open.clear()
            running.cancel()
            await asyncio.wait([running])

    async def _open_session(self) -> Session:
        return Session(
            await self._link.open_channel(),
            self._link.settings,
            take=self._take,
            is_known=self._is_known,
            on_gone=self._gone,
            trouble=self._trouble,
        )

    async def intake(self) -> Intake:
        """Return by what is consumed now. Raises `ChannelUnavailable` if there is no connection."""
        if self._link.trouble is not None:
            raise ChannelUnavailable(self._link.trouble)
        with reported(self._link.settings):
            async with asyncio.timeout(_OPENS_WITHIN):
                await self._is_open.wait()
        if self._intake is None:
            raise ChannelUnavailable(self._link.trouble or "the connection was lost just now")
        return self._intake

    # --- the queues of a place -------------------------------------------------------------

    def changing(self, trigger: str) -> asyncio.Lock:
        """Return what to hold while the trigger's queues, or what is consumed of them, change."""
        return self._changing[trigger]

    @asynccontextmanager
    async def turn(self, trigger: str) -> AsyncIterator[None]:
        """Hold `changing`, as one of a few at a time: a server is not asked for all at once."""
        async with self._turns, self._changing[trigger]:
            yield

    async def begin(self, intake: Intake, place: Place, queues: Sequence[str], ahead: int) -> None:
        """Let messages come from these queues, as soon as they can; so many that are not acked."""
        self._ahead[place.trigger] = ahead
        try:
            await self._consume(intake, place, queues)
        except ChannelUnavailable as error:
            self._trouble.met("cannot consume", error, trigger=place.trigger)
            self._spawn(self._feed(intake, place))

    async def stop(self, place: Place) -> None:
        """Let no more come, and give back what nobody has claimed."""
        intake = self._intake
        if intake is None:
            return
        with suppress(ChannelUnavailable):
            for each in [each for each in intake.consumers if each.place is place]:
                await intake.stop(each.queue)
        place.given_back = place.give_back()
        intake.give_back(place.given_back)

    async def _feed(self, intake: Intake, place: Place) -> None:
        """Let messages come from the trigger's queues, as soon as they can, by this intake."""
        while self._intake is intake and place.subscribed:
            try:
                async with self.turn(place.trigger):
                    queues = await self._feeding.queues(
                        place, place.filter, ordered=place.is_ordered
                    )
                    await self._consume(intake, place, queues)
            except (ChannelUnavailable, ChannelFull) as error:
                self._trouble.met("cannot consume", error, trigger=place.trigger)
                await asyncio.sleep(_AGAIN_AFTER)
            else:
                return

    async def _consume(self, intake: Intake, place: Place, queues: Sequence[str]) -> None:
        """Let messages come from these queues. What is in order comes when all else has."""
        ahead = self._ahead[place.trigger]
        later: list[str] = []
        for queue in queues:
            consumer = intake.consumer(queue)
            if consumer is not None and consumer.prefetch == ahead:
                continue
            await intake.stop(queue)
            if place.is_ordered and self._feeding.is_ordered(place.trigger, queue):
                later.append(queue)
            else:
                await self._begin(intake, place, queue)
        if later and len(queues) > 1:
            self._spawn(self._consume_in_order(intake, place, later))
        else:
            for queue in later:
                await self._begin(intake, place, queue)

    async def _consume_in_order(self, intake: Intake, place: Place, queues: Sequence[str]) -> None:
        """Consume from these once nothing is left in the trigger's other queues."""
        is_left = True
        while is_left and self._intake is intake:
            try:
                async with self._changing[place.trigger]:
                    is_left = not await self._began_in_order(intake, place, queues)
            except ChannelUnavailable as error:
                self._trouble.met("cannot consume", error, trigger=place.trigger)
            await asyncio.sleep(_AGAIN_AFTER if is_left else 0)

    async def _began_in_order(self, intake: Intake, place: Place, queues: Sequence[str]) -> bool:
        """Return whether there is nothing to wait for any more."""
        if not (place.is_ordered and place.subscribed):
            return True
        others = [each for each in intake.consumers if each.place is place]
        for consumer in others:
            await intake.count(consumer)
        if any(place.ready[each.queue] for each in others):
            return False
        for queue in queues:
            if intake.consumer(queue) is None:
                await self._begin(intake, place, queue)
        return True

    async def _begin(self, intake: Intake, place: Place, queue: str) -> None:
        ordered = self._feeding.is_ordered(place.trigger, queue)
        await intake.consume(place, queue, self._ahead[place.trigger], ordered=ordered)

    async def count(self) -> None:
        """Find out how much is in the queues. Raises `ChannelUnavailable`."""
        intake = self._intake
        if intake is not None:
            await intake.count_all()

    # --- what is lost ----------------------------------------------------------------------

    def _gone(self, consumer: Consumer) -> None:
        """The server has taken a queue away."""
        intake, place = self._intake, consumer.place
        if intake is not None and place.subscribed:
            place.ready[consumer.queue] = 0
            self._lose(consumer)
            self._spawn(self._see_to(intake, consumer))

    async def _see_to(self, intake: Intake, consumer: Consumer) -> None:
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
        await self._feed(intake, consumer.place)

    def _ended(self, place: Place) -> None:
        """The channel by which the place was fed has ended."""
        intake = self._intake
        if intake is not None and place.subscribed:
            self._spawn(self._feed_again(intake, place))

    async def _feed_again(self, intake: Intake, place: Place) -> None:
        await asyncio.sleep(_AGAIN_AFTER)
        await self._feed(intake, place)

    def _lose(self, consumer: Consumer) -> None:
        """Let go of what has come from a queue that is gone, or by a channel that is."""
        place = consumer.place
        gone = place.lose(consumer.queue)
        place.ready[consumer.queue] += gone + consumer.let_go()
