"""Takes messages in hand: what each is, whom it is for, and whether it is known already."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from aiormq.abc import DeliveredMessage

from broker.channels.clock import microseconds, now
from broker.channels.rabbitmq.deadletters import RabbitmqDeadLetters
from broker.channels.rabbitmq.delivery import PutOff, Receipt
from broker.channels.rabbitmq.foreign import event_of_message
from broker.channels.rabbitmq.place import Place
from broker.channels.rabbitmq.session import Consumer, Session, tag_of
from broker.channels.rabbitmq.settling import Settling
from broker.channels.rabbitmq.stamps import accepted_at
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.streams import Entry
from broker.channels.rabbitmq.waits import step
from broker.channels.trouble import Trouble
from broker.codecs.amqp import decode
from broker.errors import CemeshError, InvalidEvent
from broker.ports import Refusal

_PAUSE: Final = 0.5


class Receiving:
    """Puts what comes from the queues of triggers into their places."""

    def __init__(
        self,
        state: State,
        settling: Settling,
        dead_letters: RabbitmqDeadLetters,
        trouble: Trouble,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self._state = state
        self._settling = settling
        self._dead_letters = dead_letters
        self._trouble = trouble
        self._spawn = spawn

    def take(self, session: Session, consumer: Consumer, message: DeliveredMessage) -> None:
        """Take a message in hand, or ack it, where it is done with or for others."""
        place, tag = consumer.place, tag_of(message)
        properties = message.header.properties
        stamp = properties.message_id
        at = accepted_at(stamp)
        if at is None:
            stamp, at = None, now()
        elif stamp is not None and self._is_known(place, stamp, Receipt(session, tag), message):
            return
        try:
            event, notes = decode(
                properties.headers or {},
                message.body,
                content_type=properties.content_type,
                content_encoding=properties.content_encoding,
            )
        except InvalidEvent as error:
            self._spawn(self._bury(session, consumer, message, error))
            return
        if notes.to is None:
            place.latest = at
            if not place.is_for(event, at):
                session.ack([tag])
                return
        attempts, condemned = notes.attempts, notes.condemned
        due = 0 if notes.due is None else microseconds(notes.due)
        held = self._state.ledger.held(place.trigger).get(stamp or "")
        if held is not None:
            attempts, condemned, due = held.attempts, held.condemned, held.due or 0
        waits_on = not place.is_ordered and step(due - now()) is not None
        delivery = place.put(
            event,
            stamp=stamp,
            at=at,
            receipt=Receipt(session, tag),
            queue=consumer.queue,
            attempts=attempts,
            condemned=condemned,
            due=due,
            fate=PutOff(due, attempts, condemned) if waits_on else None,
        )
        if waits_on:
            self._settling.submit(place, delivery)

    def _is_known(
        self, place: Place, stamp: str, receipt: Receipt, message: DeliveredMessage
    ) -> bool:
        """Return whether the message is in hand already, or done with; see to it if so."""
        delivery = place.known(stamp)
        if delivery is None:
            is_done = stamp in place.recent or (
                bool(message.redelivered) and self._state.ledger.was_settled(place.trigger, stamp)
            )
            if is_done:
                receipt.session.ack([receipt.tag])
            return is_done
        if delivery.receipt is not None and delivery.receipt.session is receipt.session:
            receipt.session.ack([receipt.tag])  # it was published twice
            return True
        delivery.receipt = receipt
        if delivery.position in place.closing:
            self._settling.submit(place, delivery)
        return True

    async def _bury(
        self, session: Session, consumer: Consumer, message: DeliveredMessage, error: InvalidEvent
    ) -> None:
        """Keep what is no event: in the dead-letter store, once however many triggers got it."""
        event = event_of_message(as_entry(message), consumer.queue)
        why = Refusal(
            destination=consumer.queue,
            reason=f"it is no CloudEvent: {error}",
            status=None,
            body=b"",
            attempts=0,
        )
        while session.is_open:
            try:
                await self._dead_letters.bury("", event, why, delivery=f"foreign {event.id}")
            except CemeshError as failure:
                self._trouble.met("cannot store", failure, trigger=consumer.place.trigger)
                await asyncio.sleep(_PAUSE)
            else:
                session.ack([tag_of(message)])
                return


def as_entry(message: DeliveredMessage) -> Entry:
    """Return the message as one of a stream is."""
    properties = message.header.properties
    return Entry(
        offset=0,
        body=message.body,
        headers=properties.headers or {},
        exchange=message.exchange,
        routing_key=message.routing_key,
        properties=properties,
    )
