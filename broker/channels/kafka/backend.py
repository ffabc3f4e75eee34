"""The backend of ``kafka:`` URLs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from broker.channels.kafka.channel import KafkaChannel
from broker.channels.kafka.settings import Settings, check, from_url, settings
from broker.errors import CemeshError
from broker.ports import BackendOptions, Fault

_LINGERS: Final = 30.0
"""Seconds for which a channel that was replaced still takes events that are on their way."""


@dataclass(eq=False, slots=True)
class _Open:
    """A channel that is open until ``closing`` is set."""

    channel: KafkaChannel
    opened: asyncio.Future[None]
    closing: asyncio.Event = field(default_factory=asyncio.Event)


class KafkaBackend:
    """The channels of any number of brokers, each with connections of its own.

    What a broker's ConfigMap lacks is taken from the URL. A broker whose configuration has
    changed gets another channel; the former one is closed once nobody is subscribed to it.
    """

    shared: ClassVar[bool] = True

    def __init__(self, defaults: Mapping[str, str]) -> None:
        self._defaults = defaults
        self._channels: dict[str, _Open] = {}
        self._all: set[_Open] = set()
        self._opening = asyncio.Lock()
        self._replacing: set[asyncio.Task[None]] = set()

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self:
        return cls(from_url(url))

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return check(broker, config, secret)

    async def __aenter__(self) -> Self:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._replacing:
            task.cancel()
        for each in self._all:
            each.closing.set()
        self._channels.clear()
        await self._tasks.__aexit__(None, None, None)

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> KafkaChannel:
        wanted = settings(broker, config, secret, defaults=self._defaults)
        async with self._opening:
            former = self._channels.get(broker)
            if former is not None and former.channel.settings == wanted:
                return former.channel
            self._refuse_shared(broker, wanted)
            current = self._channels[broker] = await self._opened(KafkaChannel(wanted))
            if former is not None:
                task = self._tasks.create_task(_replace(former))
                self._replacing.add(task)
                task.add_done_callback(self._replacing.discard)
            return current.channel

    async def _opened(self, channel: KafkaChannel) -> _Open:
        found = _Open(channel, asyncio.get_running_loop().create_future())
        self._all.add(found)
        task = self._tasks.create_task(_keep(found))
        task.add_done_callback(lambda _: self._all.discard(found))
        try:
            await asyncio.shield(found.opened)
        except BaseException:
            found.closing.set()
            raise
        return found

    def _refuse_shared(self, broker: str, wanted: Settings) -> None:
        """Refuse names of topics that another broker of the mesh has: they would be one."""
        for other, each in self._channels.items():
            theirs = each.channel.settings
            same = wanted.bootstrap_servers == theirs.bootstrap_servers
            if other != broker and same and wanted.base == theirs.base:
                raise CemeshError(
                    f"broker {broker}: its topics would have the names of those of the broker "
                    f"{other}, '{wanted.base}'; give brokers.topic.template another form in the "
                    "ConfigMap of one of them"
                )


async def _keep(found: _Open) -> None:
    """Keep the channel open; what is opened by a task is closed by the same one."""
    try:
        async with found.channel:
            found.opened.set_result(None)
            await found.closing.wait()
    except CemeshError as error:
        if found.opened.done():
            raise
        found.opened.set_exception(error)


async def _replace(former: _Open) -> None:
    """Close a channel once all triggers have left it, and what was being appended has arrived."""
    await former.channel.stop_dispatching()
    await asyncio.sleep(_LINGERS)
    former.closing.set()
