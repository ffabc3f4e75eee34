"""Stores what became of deliveries, and then acks their messages: many at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Final

from broker.channels.clock import now
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.delivery import Bury, Delivery, Fate, Keep, PutOff, Session
from broker.channels.rabbitmq.entries import Counts, Entry, Held, Stamped
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.waiting import Waiting
from broker.channels.rabbitmq.waits import Waits, grouped
from broker.channels.trouble import Trouble
from broker.errors import CemeshError, ChannelFull, ChannelUnavailable

TICK: Final = 1.0
"""Seconds after which others learn what is in hand here, though nothing is settled."""

_PAUSE: Final = 0.5
_HEARTBEAT: Final = 5_000_000
_LOOKS_EVERY: Final = 1_000_000


class Settling:
    """Stores what is submitted, as long as `run` runs.

    The entry that counts deliveries is confirmed before their messages are acked. While an alarm
    keeps the server from taking entries, acks do not wait for them: they may be what ends it.
    """

    def __init__(
        self,
        state: State,
        waiting: Waiting,
        dead_letters: RabbitmqDeadLetters,
        trouble: Trouble,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.waits: Final = Waits()
        self._state = state
        self._waiting = waiting
        self._dead_letters = dead_letters
        self._trouble = trouble
        self._spawn = spawn
        self._ready: dict[Delivery, Place] = {}
        self._storing: set[Delivery] = set()
        self._stored: dict[Delivery, int | None] = {}  # up to when it waits, if it was put off
        self._held: defaultdict[str, dict[str, Held]] = defaultdict(dict)
        self._told: dict[str, Counts] = {}
        self._places: Callable[[], Iterable[Place]] = tuple
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._sessions: set[Session] = set()  # in which messages were acked since it was asked
        self._is_lost = False  # some of those acks, as far as is known
        self._round_over = asyncio.Event()
        self._written = self._acked = 0  # numbers of entries
        self._heard = self._looked = 0
        self._unheard: dict[str, Counts] = {}
        self._counted_elsewhere: list[Stamped] = []  # since it was looked at

    def of(self, places: Callable[[], Iterable[Place]]) -> None:
        """Tell the counts of these places, too, when nothing is settled."""
        self._places = places

    def submit(self, place: Place, delivery: Delivery) -> None:
        """Store what is to become of the delivery, as soon as it has a receipt."""
        if delivery.receipt is None:
            return
        self._idle.clear()
        fate = place.closing.get(delivery.position)
        match fate:
            case Keep() | None:
                if fate is not None:
                    place.open(delivery)
                self._hold(place, delivery)
            case PutOff() | Bury() if delivery not in self._stored:
                if delivery not in self._storing:
                    self._storing.add(delivery)
                    self._spawn(self._store(place, delivery, fate))
            case _:
                self._ready[delivery] = place
        self._wake.set()

    async def settled(self, place: Place | None = None) -> None:
        """Return once all is stored that can be, or all of this place."""
        if place is None:
            await self._idle.wait()
            return
        while any(place.in_hand[each].receipt is not None for each in place.closing):
            await self._round_over.wait()

    # --- what is stored before it is counted -----------------------------------------------

    def _hold(self, place: Place, delivery: Delivery) -> None:
        if delivery.stamp is not None:
            self._held[place.trigger][delivery.stamp] = Held(
                attempts=delivery.attempts, condemned=delivery.condemned, due=delivery.due
            )

    async def _store(self, place: Place, delivery: Delivery, fate: PutOff | Bury) -> None:
        """Put the delivery off or bury it, over outages, unless others come to have it."""
        while delivery.receipt is not None:
            try:
                self._stored[delivery] = await self._stored_until(place, delivery, fate)
            except CemeshError as error:
                self._trouble.met("cannot store", error, trigger=place.trigger)
                await asyncio.sleep(_PAUSE)
            else:
                break
        self._storing.discard(delivery)
        self.submit(place, delivery)

    async def _stored_until(
        self, place: Place, delivery: Delivery, fate: PutOff | Bury
    ) -> int | None:
        if isinstance(fate, PutOff):
            return await self._waiting.put_off(place.trigger, delivery, fate)
        await self._dead_letters.bury(
            place.trigger, delivery.event, fate.why, delivery=f"{place.trigger} {delivery.stamp}"
        )
        return None

    # --- counting and acking ---------------------------------------------------------------

    async def run(self) -> None:
        """Store until cancelled."""
        self._state.on_settled = self._counted_elsewhere.append
        try:
            await self._run()
        finally:
            self._state.on_settled = None

    async def _run(self) -> None:
        while True:
            is_tick = False
            try:
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            except TimeoutError:
                is_tick = True
            self._wake.clear()
            try:
                if is_tick or now() - self._looked > _LOOKS_EVERY:
                    await self._look()
                await self._round()
            except ChannelUnavailable as error:
                self._trouble.met("cannot settle", error)
                for place in self._places():
                    place.wait_on()
                self._wake.set()
                await asyncio.sleep(_PAUSE)
            self._round_over.set()
            self._round_over = asyncio.Event()
            if not (self._ready or self._storing or self._held):
                self._idle.set()

    async def end(self) -> None:
        """Note that nothing is in hand here any more."""
        counts = {each.trigger: each.counts(()) for each in self._places()}
        await self._state.write(Entry(counts=counts, ended=True))

    async def _look(self) -> None:
        """Find out what else there is to tell, and what others have come to have."""
        self._looked = now()
        self._unheard = {each.trigger: each.counts(()) for each in self._places()}
        places = {each.trigger: each for each in self._places()}
        for settled in self._counted_elsewhere:
            for trigger in settled.keys() & places.keys():
                places[trigger].counted_elsewhere(settled[trigger])
        self._counted_elsewhere.clear()
        for trigger, place in places.items():
            self._close_stored(place)
            place.let_go(partial(self._state.ledger.was_settled, trigger))
        written = self._written
        if written > self._acked and not self._is_lost:
            sessions, self._sessions = self._sessions, set()
            for each in sessions:
                try:
                    await each.sync()
                except ChannelUnavailable:  # so nobody knows which acks have arrived
                    self._is_lost = True
            if not self._is_lost:
                self._acked = written

    async def _round(self) -> None:
        for delivery in [each for each in self._ready if each.receipt is None]:
            del self._ready[delivery]  # it will be submitted again, if it comes again
        batch, self._ready = self._ready, {}
        held, self._held = self._held, defaultdict(dict)
        try:
            await self._write(batch, held)
        except ChannelFull as error:
            self._trouble.met("cannot count", error)
            self._put_back({}, held)
        except ChannelUnavailable:
            self._put_back(batch, held)
            raise
        self._close(batch)

    async def _write(
        self, batch: Mapping[Delivery, Place], held: Mapping[str, Mapping[str, Held]]
    ) -> None:
        counts = self._changed(batch)
        is_due = now() - self._heard > _HEARTBEAT and any(each.in_hand for each in self._places())
        if not (batch or held or counts or is_due):
            return
        untils: defaultdict[str, list[int]] = defaultdict(list)
        settled: defaultdict[str, list[str]] = defaultdict(list)
        for delivery, place in batch.items():
            if delivery.stamp is not None:
                settled[place.trigger].append(delivery.stamp)
            until = self._stored.get(delivery)
            if until is not None:
                untils[place.trigger].append(until)
        self._written = await self._state.write(
            Entry(
                counts=counts,
                settled=settled,
                acked=self._acked,
                waits=grouped(untils),
                held={trigger: dict(each) for trigger, each in held.items()},
            )
        )
        self._heard = now()
        self._told |= counts
        self._unheard = {}

    def _close_stored(self, place: Place) -> None:
        """Close what an entry has counted that was stored, though its confirm was lost.

        Whoever its messages come to again knows of that, and acks them.
        """
        lost = place.lost()
        stored = self._state.own_settled(place.trigger) if lost else ()
        self._close({each: place for each in lost if each.stamp in stored})

    def _close(self, batch: Mapping[Delivery, Place]) -> None:
        tags: defaultdict[Session, list[int]] = defaultdict(list)
        for delivery, place in batch.items():
            until = self._stored.pop(delivery, None)
            if until is not None:
                self.waits.add(place.trigger, until)
            place.closed(delivery)
            if delivery.receipt is not None:
                tags[delivery.receipt.session].append(delivery.receipt.tag)
        for session, each in tags.items():
            session.ack(each)
            self._sessions.add(session)
            self._is_lost = False

    def _put_back(
        self, batch: Mapping[Delivery, Place], held: Mapping[str, Mapping[str, Held]]
    ) -> None:
        self._ready |= batch
        for trigger, each in held.items():
            self._held[trigger] = {**each, **self._held[trigger]}

    def _changed(self, batch: Mapping[Delivery, Place]) -> dict[str, Counts]:
        """Return the counts, as they are after this batch, that were not told yet."""
        fates: defaultdict[Place, list[Fate]] = defaultdict(list)
        for delivery, place in batch.items():
            fates[place].append(place.closing[delivery.position])
        counts = {place.trigger: place.counts(each) for place, each in fates.items()}
        found = self._unheard | counts
        return {key: each for key, each in found.items() if self._told.get(key) != each}
