"""What the server took out of a trigger's queue: it is given back, or given up, with its reason."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiormq.abc import AbstractConnection, DeliveredMessage

from broker.channels.clock import now
from broker.channels.rabbitmq.acks import Acks
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.delivery import Bury, Receipt
from broker.channels.rabbitmq.foreign import event_of_message
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.outgoing import Outgoing
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.publishing import Publishing
from broker.channels.rabbitmq.receiving import as_entry
from broker.channels.rabbitmq.session import tag_of
from broker.channels.rabbitmq.settling import Settling
from broker.channels.rabbitmq.stamps import Stamps, accepted_at
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.topology import Topology
from broker.channels.trouble import Trouble
from broker.codecs.amqp import decode, encode
from broker.codecs.notes import NO_NOTES, Notes
from broker.connections.rabbitmq.connecting import reported
from broker.errors import CemeshError, InvalidEvent
from broker.event import Event
from broker.ports import Refusal

_DELIVERY_LIMIT: Final = "delivery_limit"
_AHEAD: Final = 20
_PAUSE: Final = 0.5

_REASONS: Final[Mapping[str, str]] = {
    "expired": "it waited longer than a policy for its queue lets it (message-ttl)",
    "maxlen": "its queue was longer than a policy lets it be (max-length)",
    "rejected": "it was rejected by a consumer that is none of the mesh",
}

_log: Final = logging.getLogger("cemesh.channel")


@dataclass(frozen=True, slots=True)
class Death:
    """Why and from which queue a message was taken. Both are empty where it does not tell."""

    reason: str
    queue: str

    def refusal(self) -> Refusal:
        """Return why the delivery was given up."""
        why = _REASONS.get(self.reason, self.reason or "nobody knows why")
        return Refusal(
            destination=self.queue,
            reason=f"RabbitMQ took it out of its queue: {why}",
            status=None,
            body=b"",
            attempts=0,
        )


def death_of(message: DeliveredMessage) -> Death:
    """Return what a dead-lettered message tells of why it is here.

    Of several deaths the first in its list is the latest (RabbitMQ, "Dead Letter Exchanges").
    """
    headers = message.header.properties.headers or {}
    deaths = headers.get("x-death")
    if not isinstance(deaths, Sequence) or not deaths or not isinstance(deaths[0], Mapping):
        return Death("", "")
    return Death(str(deaths[0].get("reason", "")), str(deaths[0].get("queue", "")))


class Returned:
    """Sees to what the server took out of the queues of triggers, over one connection at a time."""

    def __init__(
        self,
        link: Link,
        topology: Topology,
        state: State,
        publishing: Publishing,
        stamps: Stamps,
        settling: Settling,
        dead_letters: RabbitmqDeadLetters,
        trouble: Trouble,
        place_of: Callable[[str], Place | None],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._link = link
        self._topology = topology
        self._state = state
        self._publishing = publishing
        self._stamps = stamps
        self._settling = settling
        self._dead_letters = dead_letters
        self._trouble = trouble
        self._place_of = place_of
        self._spawn = spawn

    async def serve(self, _: AbstractConnection) -> None:
        """Take what comes over a connection, until it is lost. Raises `ChannelUnavailable`."""
        channel = await self._link.open_channel()
        acks = Acks(channel, self._link.settings)

        async def take(message: DeliveredMessage) -> None:
            self._spawn(self._see_to(message, acks))

        with reported(self._link.settings):
            await channel.basic_qos(prefetch_count=_AHEAD)
            await channel.basic_consume(self._topology.returned, take)
            await acks.run()

    async def _see_to(self, message: DeliveredMessage, acks: Acks) -> None:
        death, stamp = death_of(message), message.header.properties.message_id
        trigger = self._trigger_of(death.queue)
        event, notes = _event_of(message, death.queue)
        at = accepted_at(stamp)
        if at is None:
            stamp, at = None, now()
        extra = {"trigger": trigger, "event_id": event.id, "source": event.source}
        extra |= {"queue": death.queue}
        if death.reason == _DELIVERY_LIMIT and trigger is not None:
            _log.warning("delivery limit reached, event goes back", extra=extra)
            outgoing = Outgoing(
                message=encode(event, notes),
                stamp=stamp or self._stamps.new(),
                routing_key=death.queue,
            )
            await self._until_done(lambda: self._publishing.publish([outgoing]), acks)
            acks.ack([tag_of(message)])
            return
        why = death.refusal()
        _log.warning("server took event out of queue", extra={**extra, "why": why.reason})
        place = None if trigger is None else self._place_of(trigger)
        if place is not None and (stamp is None or place.known(stamp) is None):
            receipt = Receipt(acks, tag_of(message))
            delivery = place.put(
                event, stamp=stamp, at=at, receipt=receipt, queue=death.queue, fate=Bury(why)
            )
            self._settling.submit(place, delivery)
            return
        delivery_id = f"{trigger} {stamp or event.id}"
        await self._until_done(
            lambda: self._dead_letters.bury(trigger or "", event, why, delivery=delivery_id), acks
        )
        acks.ack([tag_of(message)])

    async def _until_done(
        self, work: Callable[[], Coroutine[Any, Any, object]], acks: Acks
    ) -> None:
        while acks.is_open:
            try:
                await work()
            except CemeshError as error:
                self._trouble.met("cannot store", error, queue=self._topology.returned)
                await asyncio.sleep(_PAUSE)
            else:
                return

    def _trigger_of(self, queue: str) -> str | None:
        noted = self._state.ledger.triggers()
        return next((key for key, each in noted.items() if queue in each.queues), None)


def _event_of(message: DeliveredMessage, queue: str) -> tuple[Event, Notes]:
    entry = as_entry(message)
    try:
        return decode(
            entry.headers,
            entry.body,
            content_type=entry.content_type,
            content_encoding=entry.content_encoding,
        )
    except InvalidEvent:
        return event_of_message(entry, queue), NO_NOTES
