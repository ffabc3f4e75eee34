"""The embedded channel: everything in one SQLite file of the data directory.

Read it in this order: ``schema`` (the file), ``store`` and ``writing`` (commits), ``channel``
and ``appends`` (append and sweep), ``place`` with ``backlog`` and ``deferrals`` (a trigger's
way through the log), ``cursor``, ``history``, ``retention``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar, Self

from broker.channels.embedded.channel import EmbeddedChannel
from broker.channels.embedded.loading import last_place, load_broker, new_place, settle_accounts
from broker.channels.embedded.place import StoredPlace
from broker.channels.embedded.retention import keep_bounds
from broker.channels.embedded.store import Store
from broker.ports import BackendOptions, Fault
from broker.settings import MAX_SHARDS

__all__ = ["EmbeddedBackend"]


class EmbeddedBackend:
    """The backend of ``sqlite:`` (in the data directory) and ``sqlite:FOLDER`` (in that one).

    Entering it raises `DataDirectoryInUse` while another process has the folder, and
    `ChannelUnavailable` if the file cannot be used.
    """

    shared: ClassVar[bool] = False

    def __init__(self, folder: Path, options: BackendOptions) -> None:
        self._folder = _of_shard(folder, options.shard)
        self._options = options
        self._channels: dict[str, EmbeddedChannel] = {}
        self._opening = asyncio.Lock()
        self._last_place = 0
        self._resources = AsyncExitStack()

    @classmethod
    def from_url(cls, url: str, options: BackendOptions) -> Self:
        return cls(_folder(url, options), options)

    @classmethod
    def shards(cls, url: str, options: BackendOptions) -> int:
        """Return how many shards the folder holds, at least 1."""
        folder = _folder(url, options)
        used = (each for each in range(1, MAX_SHARDS) if _of_shard(folder, each).exists())
        return 1 + max(used, default=0)

    @classmethod
    def check(
        cls, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> Sequence[Fault]:
        return ()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as resources:
            self._store = Store(self._folder, self._options.shard)
            self._channels.clear()
            await self._store.open()
            resources.push_async_callback(self._store.close)
            await self._store.write(settle_accounts)
            self._last_place = await self._store.write(last_place)
            tasks = await resources.enter_async_context(asyncio.TaskGroup())
            self._store.start(tasks)
            resources.push_async_callback(self._store.stop)
            trimming = tasks.create_task(
                keep_bounds(self._store, self._channels.values(), self._options)
            )
            resources.callback(trimming.cancel)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._resources.aclose()

    async def channel(
        self, broker: str, config: Mapping[str, str], secret: Mapping[str, str]
    ) -> EmbeddedChannel:
        async with self._opening:
            if broker not in self._channels:
                stored = await self._store.write(lambda writer: load_broker(writer, broker))
                channel = EmbeddedChannel(self._store, stored, self._new_place)
                self._store.add(channel)
                self._channels[broker] = channel
        return self._channels[broker]

    def _new_place(self, trigger: str, filter: str, swept: int) -> StoredPlace:
        self._last_place += 1
        return new_place(self._last_place, trigger, filter, swept)


def _folder(url: str, options: BackendOptions) -> Path:
    return Path(url.partition(":")[2].removeprefix("//") or options.data_dir)


def _of_shard(folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard}" if shard else folder
