"""Consumes a queue, and emits what it delivers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final, Never

from aiormq import ChannelNotFoundEntity, ChannelPreconditionFailed
from aiormq.abc import AbstractChannel, ArgumentsType, DeliveredMessage

from broker.connections.rabbitmq.connecting import at, close, connect
from broker.connections.rabbitmq.connection import Connection
from broker.errors import ChannelUnavailable, InvalidEvent, UpstreamUnavailable
from broker.event import Event
from broker.passing import pass_on
from broker.ports import Emitter, SourceContext
from sources.rabbitmq.consuming import Deliveries, answered, is_of_a_stream
from sources.rabbitmq.messages import event_of, label_of
from sources.rabbitmq.spec import RabbitmqSpec

_LOOKS_EVERY: Final = 3.0
# Or RabbitMQ 4 drops what has come again twenty times, whoever's fault that was.
_NO_DELIVERY_LIMIT: Final = 1_000_000_000


class RabbitmqSource:
    """Emits the messages that a queue delivers to this process.

    They are acknowledged once their events are durable: what was emitted and not yet acknowledged
    comes again after a crash, to this process or to another.
    """

    Spec: ClassVar = RabbitmqSpec
    api_versions: ClassVar = ("sources.knative.dev/v1alpha1",)

    def __init__(self, spec: RabbitmqSpec, context: SourceContext) -> None:
        self._resources = spec.rabbitmq_resources_config
        self._queue = self._resources.queue_name
        self._server = spec.server
        self._context = context

    async def run(self, emit: Emitter) -> None:
        """Emit until cancelled. Raises `UpstreamUnavailable` where RabbitMQ lets nobody read."""
        purpose = f"source {self._context.namespace}/{self._context.name}"
        try:
            connection = await connect(self._server, purpose)
            try:
                await self._run(connection, emit)
            finally:
                await close(connection)
        except ChannelUnavailable as error:  # of the connection: `emit` waits instead of raising it
            raise UpstreamUnavailable(self._told(error)) from error

    async def _run(self, connection: Connection, emit: Emitter) -> None:
        channel = await self._channel(connection)
        if not self._resources.predeclared:
            await self._declare(channel)
        deliveries = Deliveries(
            channel, self._queue, self._server, at_most=self._resources.parallelism
        )
        await deliveries.begin()
        self._context.healthy()
        watching = asyncio.create_task(self._watch(connection, deliveries))
        try:
            while True:
                await self._pass_on(await deliveries.next(), deliveries, emit)
        finally:
            watching.cancel()
            await asyncio.wait([watching])

    async def _channel(self, connection: Connection) -> AbstractChannel:
        async with answered(self._server):
            return await connection.channel(publisher_confirms=False)

    async def _declare(self, channel: AbstractChannel) -> None:
        """Make what is not there: as Knative has it, all of the exchange's comes into the queue."""
        queue, exchange = self._resources.queue_name, self._resources.exchange_name
        arguments: ArgumentsType = {"x-queue-type": self._resources.queue_type}
        if self._resources.queue_type == "quorum":
            arguments["x-delivery-limit"] = _NO_DELIVERY_LIMIT
        async with answered(self._server):
            await channel.exchange_declare(exchange or "", exchange_type="headers", durable=True)
            await channel.queue_declare(queue, durable=True, arguments=arguments)
            await channel.queue_bind(queue, exchange or "", arguments={"x-match": "all"})

    # --- what is delivered -----------------------------------------------------------------

    async def _pass_on(
        self, messages: Sequence[DeliveredMessage], deliveries: Deliveries, emit: Emitter
    ) -> None:
        if any(map(is_of_a_stream, messages)):
            raise UpstreamUnavailable(
                f"{at(self._server)}: the queue '{self._queue}' is a stream, which does not know "
                "what has been acknowledged; bind a quorum queue to its exchange instead"
            )
        events: list[tuple[DeliveredMessage, Event]] = []
        for message in messages:
            try:
                events.append((message, event_of(message, self._context.uri, self._queue)))
            except InvalidEvent as error:
                await self._reject(message, error)
        await pass_on(events, emit, self._reject)
        await deliveries.acknowledge(messages)

    async def _reject(self, message: DeliveredMessage, error: InvalidEvent) -> None:
        why = f"a message of the queue {self._queue}: {error}"
        await self._context.reject(why, id=label_of(message, self._queue), data=message.body)

    # --- what operators are told -----------------------------------------------------------

    async def _watch(self, connection: Connection, deliveries: Deliveries) -> Never:
        """Tell how many messages wait, and of a connection that is lost while the store is away."""
        channel: AbstractChannel | None = None
        while True:
            try:
                deliveries.check()
                if channel is None or channel.is_closed:
                    channel = await self._channel(connection)
                async with answered(self._server):
                    answer = await channel.queue_declare(self._queue, passive=True)
                self._context.lag((answer.message_count or 0) + deliveries.in_hand)
            except ChannelUnavailable as error:
                self._context.unhealthy(self._told(error))
            else:
                self._context.healthy()
            await asyncio.sleep(_LOOKS_EVERY)

    def _told(self, error: ChannelUnavailable) -> str:
        """Return what is wrong, with what is to be done about it where that is known here."""
        match error.__cause__:
            case ChannelNotFoundEntity() if self._resources.predeclared:
                return f"{error}; it is not made here, as 'predeclared' is true"
            case ChannelPreconditionFailed() if not self._resources.predeclared:
                return (
                    f"{error}; what is there is used as it is where 'predeclared' is true, "
                    "and bound by whoever made it"
                )
        return str(error)
