"""Meshes in this process, on channels in memory that a test can hold up, and events for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest

from broker.channels.memory import MemoryBackend, MemoryChannel, _Cursor
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.filters import Filter
from broker.mesh import Mesh
from broker.ports import BackendOptions
from broker.settings import WHOLE, Part
from broker.trigger import Broker, DeliveryPolicy, Target, Trigger

BROKER = Broker(key="default/default")
OPTIONS = BackendOptions(
    data_dir="", retention_age=timedelta(days=1), retention_bytes=64 * 1024 * 1024
)
NO_WAIT = DeliveryPolicy(
    backoff_delay=timedelta(milliseconds=5), backoff_jitter=0, retry=2, breaker=None
)


class HeldChannel(MemoryChannel):
    """A channel in memory, whose subscriptions wait until ``open`` is set.

    Those with a window in ``refused`` are refused; what was let in is listed in ``windows``.
    ``fault`` is what `unsubscribe` raises.
    """

    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__(backend, OPTIONS.retention_bytes)
        self.open = asyncio.Event()
        self.open.set()
        self.refused: set[int] = set()
        self.windows: list[int] = []
        self.gone: list[str] = []
        self.fault: ChannelUnavailable | None = None

    @asynccontextmanager
    async def subscribe(
        self, trigger: str, *, filter: Filter, window: int, ordered: bool = False
    ) -> AsyncIterator[_Cursor]:
        await self.open.wait()
        if window in self.refused:
            raise ChannelUnavailable("the test refuses it")
        async with super().subscribe(
            trigger, filter=filter, window=window, ordered=ordered
        ) as cursor:
            self.windows.append(window)
            yield cursor

    async def unsubscribe(self, trigger: str) -> None:
        if self.fault is not None:
            raise self.fault
        await super().unsubscribe(trigger)
        self.gone.append(trigger)


class Store(MemoryBackend):
    """A backend whose data outlives the mesh that uses it, as that of a durable one does.

    The meshes of a test stand for processes that share it.
    """

    shared = True

    def __init__(self) -> None:
        super().__init__(OPTIONS)
        self.channels: dict[str, HeldChannel] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for channel in self.channels.values():
            channel.close()

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> HeldChannel:
        if self.outage is not None:
            raise ChannelUnavailable(self.outage)
        if broker not in self.channels:
            self.channels[broker] = HeldChannel(self)
        return self.channels[broker]


def install(monkeypatch: pytest.MonkeyPatch, **stores: Store) -> None:
    """Have each store serve the URL scheme that it is named by."""

    class Opened:
        def __init__(self, store: Store) -> None:
            self._store = store
            self.shared = store.shared

        def from_url(self, url: str, options: BackendOptions) -> Store:
            return self._store

    monkeypatch.setattr("broker.plugins.channel_backend", lambda scheme: Opened(stores[scheme]))


def make_mesh(*parts: Part, drain_timeout: timedelta = timedelta(seconds=10)) -> Mesh:
    """Return a mesh, or these parts of it, on the store installed as ``store``."""
    return Mesh(
        channel="store:",
        options=OPTIONS,
        drain_timeout=drain_timeout,
        parts=frozenset(parts) or WHOLE,
    )


def make_trigger(
    name: str,
    url: str,
    *,
    broker: str = BROKER.key,
    delivery: DeliveryPolicy = NO_WAIT,
    parallelism: int = 10,
) -> Trigger:
    return Trigger(
        key=f"default/{name}",
        broker=broker,
        subscriber=Target(url=url),
        delivery=delivery,
        parallelism=parallelism,
    )


def make_event(id: str, *, hops: int = 0) -> Event:
    return Event(
        {"specversion": "1.0", "id": id, "source": "/tests", "type": "com.example.thing"},
        hops=hops,
    )


class Clock:
    """Stands in for the class ``datetime``, ahead of it."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self, zone: tzinfo) -> datetime:
        return datetime.now(zone) + self.ahead


async def until(holds: Callable[[], bool], *, within: float = 30.0) -> None:
    """Return once the condition holds."""
    async with asyncio.timeout(within):
        while not holds():
            await asyncio.sleep(0.005)
