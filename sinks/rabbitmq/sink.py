"""Publishes events by one channel, many at a time, and knows which of them are confirmed."""

from __future__ import annotations

import asyncio
import re
from types import TracebackType
from typing import ClassVar, Final, Self

from aiormq import ChannelPreconditionFailed
from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from broker.codecs.amqp import Message, encode
from broker.connections.rabbitmq.connecting import at, close, connect, reported
from broker.connections.rabbitmq.connection import Connection
from broker.connections.sharing import SharedOpening
from broker.connections.templates import filled
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Accepted, Answer, Refused, SinkContext
from sinks.rabbitmq.spec import RabbitmqSinkSpec

_LONGEST: Final = 255  # bytes of a routing key, AMQP 0-9-1, section 4.2.5.3
_MAX_SIZE: Final = re.compile(r"message size (\d+) .*max size (\d+)")
_OPENED_WITHIN: Final = 10.0
_LOOKS_EVERY: Final = 0.5


class RabbitmqSink:
    """Publishes each event by the one channel; accepted is what the server has confirmed."""

    Spec: ClassVar = RabbitmqSinkSpec

    def __init__(self, spec: RabbitmqSinkSpec, context: SinkContext) -> None:
        self._spec = spec
        self._server = spec.server_at()
        self._purpose = f"sink {context.namespace}/{context.name}"
        self._connection: Connection | None = None
        self._channel: AbstractChannel | None = None
        self._opening = SharedOpening(self._open)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._opening.close()
        if self._connection is not None:
            await close(self._connection)

    async def attempt(self, event: Event) -> Answer:
        """Return once the server has confirmed the message: all its queues have it, on disk."""
        try:
            routing_key = self._routing_key(event)
        except ValueError as fault:
            return Refused(reason=f"{at(self._server)}: {fault}", permanent=True)
        message = encode(event, structured=self._spec.content_mode == "structured")
        try:
            channel = await self._opened()
        except ChannelUnavailable as error:
            return Refused(reason=str(error))
        publishing = asyncio.create_task(self._publish(channel, message, routing_key))
        try:
            while not (await asyncio.wait([publishing], timeout=_LOOKS_EVERY))[0]:
                blocked = None if self._connection is None else self._connection.blocked
                if blocked is not None:
                    return self._refused_by_alarm(blocked)
            return publishing.result()
        finally:
            publishing.cancel()
            await asyncio.wait([publishing])

    def _routing_key(self, event: Event) -> str:
        """Return the routing key of the event; raises `ValueError` where it can have none."""
        template = self._spec.routing_key
        routing_key = filled(template, event.attributes.get, made="'routingKey'")
        if len(routing_key.encode()) > _LONGEST:
            raise ValueError(f"the routing key would be longer than {_LONGEST} bytes")
        return routing_key

    async def _publish(
        self, channel: AbstractChannel, message: Message, routing_key: str
    ) -> Answer:
        exchange = self._spec.exchange or ""
        properties = Basic.Properties(
            content_type=message.content_type,
            headers=dict(message.headers),
            delivery_mode=message.delivery_mode,
        )
        try:
            with reported(self._server):
                await channel.basic_publish(
                    message.body,
                    exchange=exchange,
                    routing_key=routing_key,
                    properties=properties,
                    mandatory=True,
                )
        except ChannelUnavailable as error:
            return self._refused(error, len(message.body), routing_key)
        return Accepted()

    # --- what is refused -------------------------------------------------------------------

    def _refused(self, error: ChannelUnavailable, size: int, routing_key: str) -> Refused:
        match error.__cause__:
            case PublishError():
                return self._refused_for(self._no_queue(routing_key))
            case DeliveryError():
                return self._refused_for("a queue refuses the message; is it full?")
            case ChannelPreconditionFailed() as cause:
                # The channel is closed for all that are under way, and one of them was too large.
                found = _MAX_SIZE.search(str(cause))
                if found is not None and int(found[1]) == size:
                    why = f"the message has {size:,} bytes, and it takes {int(found[2]):,}"
                    return self._refused_for(f"{why} ('max_message_size')", permanent=True)
        return Refused(reason=str(error))

    def _no_queue(self, routing_key: str) -> str:
        if self._spec.exchange is None:
            return f"there is no queue '{routing_key}' in the virtual host '{self._server.vhost}'"
        return (
            f"no queue is bound to the exchange '{self._spec.exchange}' for the routing key "
            f"'{routing_key}'"
        )

    def _refused_by_alarm(self, blocked: str) -> Refused:
        return self._refused_for(f"it takes no messages now, for an alarm: {blocked}")

    def _refused_for(self, why: str, *, permanent: bool = False) -> Refused:
        return Refused(reason=f"{at(self._server)}: {why}", permanent=permanent)

    # --- the connection --------------------------------------------------------------------

    async def _opened(self) -> AbstractChannel:
        """Return the channel that all attempts share; raises `ChannelUnavailable`."""
        connection = self._connection
        if connection is not None and not connection.is_closed and connection.blocked is not None:
            # What is published now would be read after the alarm, however much that is.
            raise ChannelUnavailable(self._refused_by_alarm(connection.blocked).reason)
        if self._channel is not None and not self._channel.is_closed:
            return self._channel
        return await self._opening.opened()

    async def _open(self) -> AbstractChannel:
        if self._connection is None or self._connection.is_closed:
            if self._connection is not None:
                await close(self._connection)
            self._connection = await connect(self._server, self._purpose)
        with reported(self._server):
            async with asyncio.timeout(_OPENED_WITHIN):
                self._channel = await self._connection.channel(publisher_confirms=True)
        return self._channel
