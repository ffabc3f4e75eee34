"""The queues of triggers: made, filled, bound as their filters demand, and deleted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from broker.channels.clock import now
from broker.channels.rabbitmq.entries import Place as Noted
from broker.channels.rabbitmq.filling import Filling
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.routing import Routes, routes
from broker.channels.rabbitmq.standing import Standing
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.topology import Topology
from broker.filters import Filter

_log: Final = logging.getLogger("cemesh.channel")


class Feeding:
    """Keeps the queues of triggers as they have to be. Every method raises `ChannelUnavailable`.

    What is noted of a queue is written before it changes, so that nothing is forgotten that is
    there; and what it is bound by is bound before what it was bound by goes, so that nothing is
    missed.
    """

    def __init__(self, topology: Topology, state: State, filling: Filling) -> None:
        self._topology = topology
        self._state = state
        self._filling = filling
        self._standing = Standing(topology, state)

    async def queues(self, place: Place, filter: Filter, *, ordered: bool) -> Sequence[str]:
        """Return the queues of the place, which are there now: one is bound as the filter demands.

        That is the one for ordered triggers, or the one for others; it is the last. From here on
        the place judges by that filter.
        """
        queue = self._topology.queue(place.trigger, ordered=ordered)
        noted = self._noted(place.trigger)
        if noted is None or noted.gone:
            async with self._topology.alone(queue, until=lambda: self._runs(place.trigger)):
                noted = self._noted(place.trigger)
                if noted is None or noted.gone:
                    return (await self._made(place, queue, filter, noted)).queues
        await self._mend(place, noted)
        return (await self._bound(place, queue, filter, noted)).queues

    def is_ordered(self, trigger: str, queue: str) -> bool:
        """Return whether that queue of the trigger has a single active consumer."""
        return self._topology.is_ordered(trigger, queue)

    async def is_removed(self, trigger: str) -> bool:
        """Return whether somebody has removed the trigger, up to now."""
        await self._state.barrier()
        return not self._runs(trigger)

    def _noted(self, trigger: str) -> Noted | None:
        return self._state.ledger.triggers().get(trigger)

    def _runs(self, trigger: str) -> bool:
        noted = self._noted(trigger)
        return noted is not None and not noted.gone

    async def rebind(self, trigger: str, noted: Noted) -> None:
        """Bind the queue of a trigger again, as it was, where the exchange was deleted.

        A queue that is gone as well is left to whoever consumes from it.
        """
        queue = noted.queues[-1]
        if await self._topology.is_there(queue):
            await self._bind(queue, noted)

    async def remove(self, trigger: str, place: Place | None) -> bool:
        """Delete the trigger's queues, and note where they stood. Return whether it had any."""
        await self._state.barrier()
        noted = self._noted(trigger)
        if noted is None:
            return False
        await self._state.note({trigger: await self._standing.gone(trigger, place, noted)})
        for queue in noted.queues:
            await self._topology.delete(queue)
        return not noted.gone

    async def _made(self, place: Place, queue: str, filter: Filter, noted: Noted | None) -> Noted:
        """Make the queue of a trigger that is new, or returns."""
        wanted = routes(filter)
        began = now()
        await self._declare(place, queue)
        await self._topology.bind(queue, wanted)
        place.begin(filter)
        found = _place(began, [queue], wanted)
        if noted is not None:
            settled = {*noted.settled}
            filled = await self._filling.fill(
                queue,
                place.trigger,
                filter,
                since=noted.since,
                is_done=settled.__contains__,
                left=noted.left,
            )
            _log.info("trigger returned", extra={"trigger": place.trigger, "events": filled})
            if filled:  # should it go again before these are settled, they are to be found again
                found = replace(found, since=noted.since, settled=noted.settled, left=noted.left)
        await self._state.note({place.trigger: found})
        return found

    async def _mend(self, place: Place, noted: Noted) -> None:
        """Make queues again that are gone, with what was in them."""
        for queue in noted.queues:
            if await self._topology.is_there(queue):
                continue
            since, _ = self._standing.stands(place.trigger, place, noted)
            await self._declare(place, queue)
            await self._bind(queue, noted)
            filled = await self._filling.fill(
                queue, place.trigger, place.filter, since=since, is_done=place.recent.__contains__
            )
            extra = {"trigger": place.trigger, "queue": queue, "events": filled}
            _log.warning("queue was gone and is filled again", extra=extra)

    async def _bound(self, place: Place, queue: str, filter: Filter, noted: Noted) -> Noted:
        """Bind the queue as the filter demands, and nothing else.

        The new bindings come before the former ones go, and it is noted before what there is, so
        that nothing is missed and nothing forgotten.
        """
        wanted = routes(filter)
        others = [each for each in noted.queues if each != queue]
        final = replace(
            _place(noted.since, [*others, queue], wanted), settled=noted.settled, left=noted.left
        )
        if noted == final:
            self._judge(place, filter)
            return noted
        former = _routes(noted)
        both = replace(
            final,
            bindings=[*former.headers, *wanted.headers],
            keys=[*former.keys, *wanted.keys],
            changing=True,
        )
        await self._state.note({place.trigger: both})
        await self._declare(place, queue)
        await self._topology.bind(queue, wanted)
        self._judge(place, filter)
        await self._topology.unbind(queue, former, but=wanted)
        for other in others:
            await self._topology.unbind(other, _routes(both))
        await self._state.note({place.trigger: final})
        return final

    async def _bind(self, queue: str, noted: Noted) -> None:
        """Bind the queue as is noted: while that was changing, by all of it."""
        await self._topology.bind(queue, _routes(noted))
        if noted.changing:
            await self._topology.bind(queue, Routes(headers=noted.bindings))

    async def _declare(self, place: Place, queue: str) -> None:
        ordered = self._topology.is_ordered(place.trigger, queue)
        await self._topology.declare_queue(queue, ordered=ordered)

    def _judge(self, place: Place, filter: Filter) -> None:
        if place.filter != filter:
            place.change(filter)


def _routes(noted: Noted) -> Routes:
    return Routes(headers=noted.bindings, keys=noted.keys)


def _place(since: int, queues: Sequence[str], routes: Routes) -> Noted:
    return Noted(since=since, queues=queues, bindings=routes.headers, keys=[*routes.keys])
