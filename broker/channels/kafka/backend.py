"""The backend of ``kafka:`` URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Self

from broker.channels.kafka.channel import KafkaChannel
from broker.channels.kafka.settings import Settings, check, from_url, settings
from broker.channels.opening import OpenChannels
from broker.errors import CemeshError
from broker.ports import BackendOptions, Fault


class KafkaBackend:
    """The channels of any number of brokers, each with connections of its own.

    What a broker's ConfigMap lacks is taken from the URL.
    """

    shared: ClassVar[bool] = True

    def __init__(self, defaults: Mapping[str, str]) -> None:
        self._defaults = defaults
        self._channels: OpenChannels[KafkaChannel] = OpenChannels()

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self:
        return cls(from_url(url))

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return check(broker, config, secret)

    async def __aenter__(self) -> Self:
        await self._channels.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._channels.__aexit__(*exc)

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> KafkaChannel:
        wanted = settings(broker, config, secret, defaults=self._defaults)
        refuse = partial(self._refuse_shared, broker, wanted)
        return await self._channels.get(broker, KafkaChannel(wanted), refuse=refuse)

    def _refuse_shared(self, broker: str, wanted: Settings) -> None:
        """Refuse names of topics that another broker of the mesh has: they would be one."""
        for other, channel in self._channels.items():
            theirs = channel.settings
            same = wanted.bootstrap_servers == theirs.bootstrap_servers
            if other != broker and same and wanted.base == theirs.base:
                raise CemeshError(
                    f"broker {broker}: its topics would have the names of those of the broker "
                    f"{other}, '{wanted.base}'; give brokers.topic.template another form in the "
                    "ConfigMap of one of them"
                )
