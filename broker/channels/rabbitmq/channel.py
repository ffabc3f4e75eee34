"""The channel of one broker on RabbitMQ."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from datetime import datetime
from typing import Final, Self

from broker.channels.clock import now
from broker.channels.rabbitmq.alone import Alone
from broker.channels.rabbitmq.checkpoints import RabbitmqCheckpoints
from broker.channels.rabbitmq.cursor import RabbitmqCursor
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.dispatching import Dispatching, Means
from broker.channels.rabbitmq.feeding import Feeding
from broker.channels.rabbitmq.filling import Filling
from broker.channels.rabbitmq.history import RabbitmqHistory
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.pauses import RabbitmqPauses
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.routing import key
from broker.channels.rabbitmq.settings import Settings
from broker.channels.rabbitmq.stamps import Stamps, time_of
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.steward import Steward
from broker.channels.rabbitmq.streams import Stream
from broker.channels.rabbitmq.tailing import Tailing
from broker.channels.rabbitmq.topology import Topology, unusable
from broker.channels.rabbitmq.upkeep import Upkeep
from broker.channels.rabbitmq.waiting import Waiting
from broker.channels.trouble import Trouble
from broker.codecs.amqp import encode
from broker.codecs.notes import Notes
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.filters import Filter
from broker.ports import BackendOptions, Books, Refusal, Stored

_log: Final = logging.getLogger("cemesh.channel")

_TOLD_LETTERS: Final = 10_000

_NOTHING: Final = Books(matched=0, delivered=0, dead_lettered=0, waiting=0, oldest_waiting=None)

_ALIVE_FOR: Final = 15_000_000
"""Microseconds after which a process that tells nothing has nothing in hand any more."""


class RabbitmqChannel:
    """See `broker.ports.Channel`. It consumes from when a trigger subscribes.

    Entering it makes what the broker needs on the server. Raises `ChannelUnavailable`.
    """

    dead_letters: RabbitmqDeadLetters
    pauses: RabbitmqPauses
    checkpoints: RabbitmqCheckpoints

    def __init__(self, broker: str, settings: Settings, options: BackendOptions) -> None:
        self.settings = settings
        self._broker = broker
        self._options = options
        self._resources = AsyncExitStack()
        self._deserted = asyncio.Event()
        self._deserted.set()
        self._accepted = 0
        self._dispatches = False
        self._tells = False
        self._stamps = Stamps()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            enter = resources.enter_async_context
            stamps = self._stamps
            link = self._link = await enter(Link(self.settings, f"broker {self._broker}"))
            topology = self._topology = Topology(link, self._broker, self.settings.queue_type)
            events = self._events = Stream(link, topology.events)
            publishing = self._publishing = Publishing(self.settings, ready=self._ready)
            trouble = Trouble(lambda: publishing.is_out)
            state = self._state = State(link, publishing, topology.state, stamps)
            self._feeding = Feeding(topology, state, Filling(events, publishing, stamps))
            upkeep = self._upkeep = Upkeep(topology, events, state, self._feeding, self._options)
            missing = await topology.missing()
            await upkeep.declare()
            await enter(publishing)
            await enter(state)
            if missing:
                await upkeep.rebind(all=topology.exchange in missing)
            self.dead_letters = await enter(
                RabbitmqDeadLetters(link, publishing, topology.dead_letters, stamps)
            )
            self.pauses = RabbitmqPauses(state)
            self.checkpoints = RabbitmqCheckpoints(link, publishing, self._broker, stamps)
            self._alone = Alone(self.settings, self._broker, publishing, stamps)
            self._history = RabbitmqHistory(events)
            self._tailing = await enter(Tailing(events))
            self._steward = Steward(link, publishing, topology.steward, stamps, duty=state.sum_up)
            self._dispatching = Dispatching(
                Means(
                    link=link,
                    topology=topology,
                    state=state,
                    publishing=publishing,
                    stamps=stamps,
                    feeding=self._feeding,
                    waiting=Waiting(topology, publishing, stamps),
                    dead_letters=self.dead_letters,
                    trouble=trouble,
                )
            )
            self._tasks = await enter(asyncio.TaskGroup())
            for watch in (upkeep.watch, upkeep.watch_exchanges):
                resources.callback(self._tasks.create_task(link.keep(watch)).cancel)
            resources.callback(self._dispatching.stop)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    async def _ready(self) -> None:
        await self._upkeep.ready()

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        if to is not None:
            await self._append_to(events, to)
            return
        outgoing: Sequence[Outgoing] = [
            Outgoing(
                message=encode(event),
                stamp=stamp,
                exchange=self._topology.exchange,
                routing_key=key(event.attributes),
            )
            for event, stamp in zip(events, self._stamps.several(len(events)), strict=True)
        ]
        unroutable = await self._publishing.publish(outgoing)
        if unroutable:  # the exchange is gone, or its stream
            await self._upkeep.restore()
            await self._publish(unroutable)
        self._events.appended()

    async def _append_to(self, events: Sequence[Event], trigger: str) -> None:
        """Append events that one trigger is to get: it is in no other's queue."""
        noted = self._state.ledger.triggers().get(trigger)
        notes = Notes(to=trigger)
        stamps = self._stamps.several(len(events))
        # In this order, so that what is in a queue is in the history.
        queues = [self._topology.events]
        queues += [] if noted is None or noted.gone else [noted.queues[-1]]
        for queue in queues:
            await self._publish(
                [
                    Outgoing(message=encode(event, notes), stamp=stamp, routing_key=queue)
                    for event, stamp in zip(events, stamps, strict=True)
                ]
            )
        self._events.appended()

    async def _publish(self, outgoing: Sequence[Outgoing]) -> None:
        for each in await self._publishing.publish(outgoing):
            raise unusable(self._link, f"'{each.exchange or each.routing_key}'")

    async def check(self) -> None:
        try:
            self._publishing.check()
        except ChannelFull as error:
            raise ChannelUnavailable(str(error)) from error

    async def accepted(self) -> int:
        if self._link.trouble is None:
            with suppress(ChannelUnavailable):
                self._accepted = await self._events.end()
        return self._accepted

    # --- sources ---------------------------------------------------------------------------

    async def bury(self, event: Event, why: Refusal) -> None:
        await self.dead_letters.bury("", event, why, delivery=self._stamps.new())

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        await self._alone.do(name, work)

    # --- triggers --------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AsyncIterator[RabbitmqCursor]:
        if not self._dispatches:
            self._dispatches = True
            self._tasks.create_task(self._dispatch())
        self._deserted.clear()
        cursor = await self._dispatching.enter(trigger, filter, window, ordered=ordered)
        try:
            yield cursor
        finally:
            await self._dispatching.leave(trigger, cursor)
            if not self._dispatching.cursors:
                self._deserted.set()

    async def unsubscribe(self, trigger: str) -> None:
        if await self._dispatching.remove(trigger):
            letters = await self.dead_letters.list(trigger=trigger, limit=_TOLD_LETTERS)
            extra = {"trigger": trigger, "dead_letters": len(letters)}
            _log.info("queue of trigger removed", extra=extra)

    async def triggers(self) -> Collection[str]:
        noted = self._state.ledger.triggers()
        return [trigger for trigger, each in noted.items() if not each.gone]

    async def _dispatch(self) -> None:
        async with self._steward:
            await self._dispatching.run()

    async def stop_dispatching(self) -> None:
        """Return once no trigger is subscribed here, and be no dispatcher any more."""
        await self._deserted.wait()
        self._dispatching.stop()

    # --- looking on ------------------------------------------------------------------------

    async def books(self) -> Mapping[str, Books]:
        if self._dispatches:
            with suppress(ChannelUnavailable):
                await self._dispatching.count()
                self._tells = await self._steward.asked()
        return {
            trigger: self._account(place) if self._tells else _NOTHING
            for trigger, place in self._dispatching.subscribed()
        }

    def _account(self, place: Place) -> Books:
        """Return the account of a trigger over all processes, and over all of its queues."""
        time = now()
        own = place.account()
        others = self._state.ledger.sums(
            place.trigger,
            now=time,
            alive_since=time - _ALIVE_FOR,
            but=self._stamps.process,
        )
        waits = self._dispatching.settling.waits.of(place.trigger, time) + others.put_off
        on_the_server = place.left + waits
        return Books(
            matched=own.taken + others.matched + on_the_server,
            delivered=own.delivered + others.delivered,
            dead_lettered=own.dead_lettered + others.dead_lettered,
            waiting=own.in_hand + others.in_hand + on_the_server,
            oldest_waiting=None if place.oldest is None else time_of(place.oldest),
        )

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        return await self._history.history(since=since, after=after, id=id, limit=limit)

    def tail(self) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        return self._tailing.tail()
