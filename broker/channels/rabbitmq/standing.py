"""Where a trigger stands that goes, so that it gets what it has not had when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from broker.channels.clock import now
from broker.channels.rabbitmq.delivery import Delivery
from broker.channels.rabbitmq.entries import Place as Noted
from broker.channels.rabbitmq.filling import MARGIN
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.recent import Recent
from broker.channels.rabbitmq.stamps import accepted_at, original
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.topology import Topology

_LOOKED_AT: Final = 1_000
_SILENT_FOR: Final = 30_000_000
"""Microseconds after which the server has found out that the connection of a process is lost."""


class Standing:
    """Tells from when on a queue is to be filled, and what of that is settled.

    In doubt that is too early, and too little: an event may come twice, and none is missed.
    """

    def __init__(self, topology: Topology, state: State) -> None:
        self._topology = topology
        self._state = state

    def stands(self, trigger: str, place: Place | None, noted: Noted) -> tuple[int, Sequence[str]]:
        """Return from when on the trigger's queue is to be filled, should it return.

        And what of that is done with already.
        """
        floors = [self._state.ledger.floor(trigger), None if place is None else place.floor]
        since = min((each - MARGIN for each in floors if each is not None), default=noted.since)
        since = max(since, noted.since)
        settled = [] if place is None else list(place.recent.since(since))
        return since, [*noted.settled, *settled]

    async def gone(self, trigger: str, place: Place | None, noted: Noted) -> Noted:
        """Return what is to be noted of a trigger that is removed now.

        Processes that were not heard of for a while have nothing in hand, and what they had is in
        the queues, or others have had it. So where all that is in the queues is known, it does not
        matter where such processes stood.
        """
        left = {*noted.left, *(each.stamp or "" for each in _unsettled(place))}
        ready = None if noted.gone else await self._ready(trigger, noted)
        settled: Sequence[str]
        if noted.gone:  # another process has noted that, but for what was in hand here
            since = min([noted.since, *(each.at for each in _unsettled(place))])
            settled = [] if place is None else list(place.recent.since(since))
        elif ready is None:
            since, settled = self.stands(trigger, place, noted)
        else:
            left |= {*ready}
            since, settled = await self._stands_exactly(trigger, place, noted, ready)
        left -= {*settled}
        return replace(
            noted,
            gone=True,
            since=since,
            settled=Recent([*noted.settled, *settled]).since(since),
            left=sorted(each for each in left if original(each) != each),
        )

    async def _ready(self, trigger: str, noted: Noted) -> Sequence[str] | None:
        """Return the stamps of all that is in the queues of a trigger, if that can be told."""
        found: list[str] = []
        for queue in noted.queues:
            ordered = self._topology.is_ordered(trigger, queue)
            ready = await self._topology.ready(queue, ordered=ordered, most=_LOOKED_AT)
            if ready is None:
                return None
            for each in ready:
                if each is None or accepted_at(each) is None:  # others published it
                    return None
                found.append(each)
        return found

    async def _stands_exactly(
        self, trigger: str, place: Place | None, noted: Noted, ready: Sequence[str]
    ) -> tuple[int, Sequence[str]]:
        """Do as `stands`, where this is all that is in the queues."""
        alive_since = now() - _SILENT_FOR
        floors = [
            self._state.ledger.floor_since(trigger, alive_since),
            None if place is None else place.floor,
            *map(accepted_at, ready),
        ]
        since = min((each - MARGIN for each in floors if each is not None), default=noted.since)
        since = max(since, noted.since)
        if self._state.is_in_hand_elsewhere(trigger, alive_since):  # and may have been put off
            return since, [] if place is None else place.recent.since(since)
        return since, await self._state.settled_since(trigger, since)


def _unsettled(place: Place | None) -> Sequence[Delivery]:
    """Return what is in hand, or was until the trigger went."""
    return [] if place is None else [*place.given_back, *place.in_hand.values()]
