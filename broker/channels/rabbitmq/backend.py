"""The backend of ``amqp:`` and ``amqps:`` URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from broker.channels.opening import OpenChannels
from broker.channels.rabbitmq.channel import RabbitmqChannel
from broker.channels.rabbitmq.settings import Defaults, check, from_url, settings
from broker.ports import BackendOptions, Fault


class RabbitmqBackend:
    """The channels of any number of brokers, each with connections of its own.

    What a broker's configuration lacks is taken from the URL.
    """

    shared: ClassVar[bool] = True

    def __init__(self, defaults: Defaults, options: BackendOptions) -> None:
        self._defaults = defaults
        self._options = options
        self._channels: OpenChannels[RabbitmqChannel] = OpenChannels()

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self:
        return cls(from_url(url), options)

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return check(config, secret)

    async def __aenter__(self) -> Self:
        await self._channels.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channels.__aexit__(*exc)

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> RabbitmqChannel:
        wanted = settings(broker, config, secret, defaults=self._defaults)
        return await self._channels.get(broker, RabbitmqChannel(broker, wanted, self._options))
