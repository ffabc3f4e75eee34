"""All that is consumed over one connection, by as many channels as the order of messages needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from itertools import chain

from broker.channels.rabbitmq.delivery import Delivery
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.session import Consumer, Session
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

OpenSession = Callable[[], Awaitable[Session]]
"""Open a session on a channel of its own. Raises `ChannelUnavailable`."""


class Intake:
    """The sessions over one connection: one that most queues share, and one for each in order.

    What is given back one by one, a quorum queue delivers again in whatever order, and behind
    what it has not delivered yet. It keeps the order of what it takes back when a channel ends,
    and lets the next consumer begin only then. So a queue in order has a channel of its own, by
    whose end it is left.

    ``on_lost`` is told of each consumer whose channel has ended, as its messages are the server's
    again; ``on_ended`` of a place whose own channel has ended though nobody left it.
    """

    def __init__(
        self,
        shared: Session,
        open_session: OpenSession,
        *,
        on_lost: Callable[[Consumer], None],
        on_ended: Callable[[Place], None],
        trouble: Trouble,
    ) -> None:
        self._shared = shared
        self._open_session = open_session
        self._on_lost = on_lost
        self._on_ended = on_ended
        self._trouble = trouble
        self._own: dict[str, Session] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._is_over = False

    async def run(self) -> None:
        """Work until cancelled; raises `ChannelUnavailable` when the shared channel is lost."""
        try:
            await self._shared.run()
        finally:
            self._is_over = True
            for consumer in self._shared.consumers.values():
                self._on_lost(consumer)
            running = list(self._running.values())
            for each in running:
                each.cancel()
            if running:
                await asyncio.wait(running)

    @property
    def consumers(self) -> Sequence[Consumer]:
        """What is consumed now."""
        sessions = (self._shared, *self._own.values())
        return list(chain.from_iterable(each.consumers.values() for each in sessions))

    def consumer(self, queue: str) -> Consumer | None:
        """Return what consumes from the queue, or None."""
        return self._session(queue).consumers.get(queue)

    async def consume(self, place: Place, queue: str, prefetch: int, *, ordered: bool) -> None:
        """Let messages come, at most ``prefetch`` that are not acked.

        Raises `ChannelUnavailable`.
        """
        if not ordered:
            await self._shared.consume(place, queue, prefetch)
            return
        session = await self._open_session()
        if self._is_over:  # and the session is one of the next connection
            await session.close()
            raise ChannelUnavailable("the connection was lost just now")
        self._own[queue] = session
        self._running[queue] = asyncio.ensure_future(self._run(place, queue, session))
        await session.consume(place, queue, prefetch)

    async def stop(self, queue: str) -> None:
        """Let no more come. Returns once what was on its way has. Raises `ChannelUnavailable`.

        From a queue in order, what was not acked is the server's again.
        """
        session = self._own.pop(queue, None)
        if session is None:
            await self._shared.stop(queue)
            return
        running = self._running[queue]
        with suppress(ChannelUnavailable):  # then the channel has ended already
            await session.sync()
        running.cancel()
        await asyncio.wait({running})

    def give_back(self, deliveries: Iterable[Delivery]) -> None:
        """Let the server deliver these again, to anybody, as far as they came by the shared one."""
        receipts = [each.receipt for each in deliveries]
        tags = [each.tag for each in receipts if each is not None and each.session is self._shared]
        self._shared.give_back(tags)

    async def count(self, consumer: Consumer) -> None:
        """Find out how much its queue has left, beside what has come.

        Raises `ChannelUnavailable`.
        """
        await self._session(consumer.queue).count(consumer)

    async def count_all(self) -> None:
        """Find out how much all queues have left, beside what has come.

        Of a queue that keeps nothing back the server is not asked: each time is two round trips.
        Raises `ChannelUnavailable`.
        """
        await self._shared.sync()
        for consumer in self.consumers:
            if consumer.queue in self._own or not consumer.is_drained:
                await self.count(consumer)

    def _session(self, queue: str) -> Session:
        return self._own.get(queue, self._shared)

    async def _run(self, place: Place, queue: str, session: Session) -> None:
        try:
            await session.run()
        except ChannelUnavailable as error:
            if not self._is_over:
                self._trouble.met("cannot consume", error, trigger=place.trigger)
        finally:
            try:
                await session.close()
            finally:
                self._ended(place, queue, session)

    def _ended(self, place: Place, queue: str, session: Session) -> None:
        for consumer in session.consumers.values():
            self._on_lost(consumer)
        del self._running[queue]
        if self._own.get(queue) is session:  # so nobody has stopped it
            del self._own[queue]
            if not self._is_over:
                self._on_ended(place)
