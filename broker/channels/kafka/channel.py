"""The channel of one broker on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from typing import Self

from broker.channels.kafka.alone import do_alone
from broker.channels.kafka.beginnings import Beginnings
from broker.channels.kafka.checkpoints import KafkaCheckpoints
from broker.channels.kafka.cursor import KafkaCursor, PutOff
from broker.channels.kafka.deadletters import KafkaDeadLetters
from broker.channels.kafka.delays import Delays
from broker.channels.kafka.dispatching import Dispatching
from broker.channels.kafka.history import KafkaHistory
from broker.channels.kafka.layout import laid_out
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.pauses import KafkaPauses
from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import Settings
from broker.channels.kafka.state import StateTopic
from broker.channels.kafka.sweeping import NOBODY
from broker.channels.kafka.tailing import Tailing
from broker.channels.trouble import Trouble
from broker.codecs.kafka import NO_NOTES, Notes, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import Filter
from broker.ports import Books, Refusal, Stored


class KafkaChannel:
    """See `broker.ports.Channel`. It joins the group of dispatchers when a trigger subscribes.

    Entering it makes the broker's topics. Raises `ChannelUnavailable`.
    """

    dead_letters: KafkaDeadLetters
    pauses: KafkaPauses
    checkpoints: KafkaCheckpoints

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._resources = AsyncExitStack()
        self._deserted = asyncio.Event()
        self._deserted.set()
        self._dispatches = False

    async def __aenter__(self) -> Self:
        options = self._options = await asyncio.to_thread(self.settings.client_options)
        async with AsyncExitStack() as resources:
            enter = resources.enter_async_context
            layout = self._layout = await laid_out(self.settings, options)
            self._producing = await enter(Producing(options))
            append = self._producing.append
            self._trouble = Trouble(lambda: self._producing.is_out)
            state = await enter(StateTopic(layout.state, append, options))
            self.dead_letters = await enter(KafkaDeadLetters(layout.dead_letters, append, options))
            self.pauses = KafkaPauses(state)
            self.checkpoints = KafkaCheckpoints(state)
            self._offsets = await enter(Offsets(options))
            self._ends = await self._offsets.ends(layout.events)
            self._history = await enter(KafkaHistory(options, layout.events, self._offsets))
            self._tailing = await enter(Tailing(options, layout.events, self._offsets))
            self._beginnings = Beginnings(state, self._offsets, layout.events)
            self._delays = Delays(self.settings.base, layout.delayed, append)
            self._dispatching = Dispatching(
                options,
                layout,
                self.settings.group,
                state=state,
                offsets=self._offsets,
                delays=self._delays,
                dead_letters=self.dead_letters,
                trouble=self._trouble,
            )
            self._tasks = await enter(asyncio.TaskGroup())
            resources.callback(self._dispatching.stop)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    # --- appending -------------------------------------------------------------------------

    async def append(self, events: Sequence[Event], *, to: str | None = None) -> None:
        await self.submit(events, to=to)

    def submit(self, events: Sequence[Event], *, to: str | None = None) -> asyncio.Future[None]:
        """See `broker.ports.FutureChannel`."""
        notes = NO_NOTES if to is None else Notes(to=to)
        records = [encode(event, notes) for event in events]
        return self._producing.submit(self._layout.events, records)

    async def check(self) -> None:
        self._producing.check()

    async def accepted(self) -> int:
        if not self._producing.is_out:
            with suppress(ChannelUnavailable):
                self._ends = await self._offsets.ends(self._layout.events)
        return sum(self._ends.values())

    # --- triggers --------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AsyncIterator[KafkaCursor]:
        begins = await self._beginnings.of(trigger)
        if not self._dispatches:
            self._dispatches = True
            self._tasks.create_task(self._dispatching.run())
        former = self._dispatching.subscriptions.get(trigger)
        if former is not None and former.filter != filter:
            await self._catch_up()  # what is there already is for the former filter
        cursor = KafkaCursor(trigger, filter, window, self, ordered=ordered)
        self._dispatching.enter(trigger, cursor, begins)
        self._deserted.clear()
        try:
            yield cursor
        finally:
            self._dispatching.leave(trigger, cursor)
            if not self._dispatching.cursors:
                self._deserted.set()

    async def unsubscribe(self, trigger: str) -> None:
        if self._dispatching.subscriptions.get(trigger) is None:
            await self._beginnings.leave(trigger)

    async def triggers(self) -> Collection[str]:
        return await self._beginnings.triggers()

    async def put_off(self, delivery: PutOff) -> None:
        with self._trouble.told("cannot store", trigger=delivery.trigger):
            await self._delays.put_off(delivery)

    async def bury_claimed(self, trigger: str, event: Event, why: Refusal, delivery: str) -> None:
        with self._trouble.told("cannot store", trigger=trigger):
            await self.dead_letters.bury(trigger, event, why, delivery=delivery)

    async def stop_dispatching(self) -> None:
        """Return once no trigger is subscribed here, and leave the group of dispatchers."""
        await self._deserted.wait()
        self._dispatching.stop()

    # --- sources ---------------------------------------------------------------------------

    async def bury(self, event: Event, why: Refusal) -> None:
        await self.dead_letters.bury(NOBODY, event, why)

    async def alone(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """See `broker.ports.Channel`. By a group of its own for each name."""
        await do_alone(self._options, f"{self.settings.group}/{name}", work)

    # --- looking on ------------------------------------------------------------------------

    async def books(self) -> Mapping[str, Books]:
        if self._dispatches and not self._producing.is_out:
            with suppress(ChannelUnavailable):
                await self._catch_up()
        return self._dispatching.books()

    async def _catch_up(self) -> None:
        """Return once all is swept that is stored now and held here, or after a while."""
        await self._dispatching.caught_up(await self._offsets.ends(self._layout.events))

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
