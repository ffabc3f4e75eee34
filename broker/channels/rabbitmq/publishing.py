"""Publishing that is confirmed: by the server, for every queue that a message was routed to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final, Self

import aiormq
from aiormq import spec
from aiormq.abc import AbstractChannel

from broker.channels.rabbitmq.connecting import at, reported
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.settings import Settings
from broker.codecs.amqp import Message
from broker.errors import ChannelFull, ChannelUnavailable

_CONFIRMED_WITHIN: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message on its way to an exchange, or to the queue ``routing_key`` of the default one.

    ``stamp`` becomes its message id, ``headers`` are beside those of the message.
    """

    message: Message
    stamp: str
    exchange: str = ""
    routing_key: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Publishing:
    """Publishes by a connection of its own while entered. Entering raises `ChannelUnavailable`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._link = Link(settings, "publisher")
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.__aexit__(*_)

    @property
    def is_out(self) -> bool:
        """Whether RabbitMQ is known not to be reachable, of which was told."""
        return self._link.trouble is not None

    def check(self) -> None:
        """Raise `ChannelUnavailable` while RabbitMQ is out, `ChannelFull` while an alarm is on."""
        if self._link.trouble is not None:
            raise ChannelUnavailable(self._link.trouble)
        if self._link.blocked is not None:
            raise ChannelFull(f"{at(self._settings)} takes no messages: {self._link.blocked}")

    async def publish(self, outgoing: Sequence[Outgoing]) -> Sequence[Outgoing]:
        """Return once all are confirmed; those are returned that no queue was there for.

        Raises `ChannelUnavailable`, `ChannelFull` or `TooLarge`.
        """
        self.check()
        async with self._opening:
            if self._channel is None or self._channel.is_closed:
                self._channel = await self._link.open_channel(confirms=True)
        channel = self._channel
        with reported(self._settings):
            async with asyncio.timeout(_CONFIRMED_WITHIN):
                routed = await asyncio.gather(*(self._publish(channel, each) for each in outgoing))
        return [each for each, is_routed in zip(outgoing, routed, strict=True) if not is_routed]

    async def _publish(self, channel: AbstractChannel, each: Outgoing) -> bool:
        message = each.message
        try:
            await channel.basic_publish(
                message.body,
                exchange=each.exchange,
                routing_key=each.routing_key,
                properties=spec.Basic.Properties(
                    content_type=message.content_type,
                    headers={**message.headers, **each.headers},
                    delivery_mode=message.delivery_mode,
                    message_id=each.stamp,
                ),
                mandatory=True,
            )
        except aiormq.PublishError:
            return False
        except aiormq.DeliveryError as error:
            where = f"exchange '{each.exchange}'" if each.exchange else f"'{each.routing_key}'"
            raise ChannelFull(f"{at(self._settings)} refused a message for {where}") from error
        return True
