"""The channels that a backend holds open: one for each broker, and another when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from broker.errors import CemeshError

_LINGERS: Final = 30.0
"""Seconds for which a channel that was replaced still takes events that are on their way."""


class Openable(AbstractAsyncContextManager[Any], Protocol):
    """A channel that is open while it is entered, by what ``settings`` say."""

    settings: Any

    async def stop_dispatching(self) -> None:
        """Return once no trigger is subscribed here, and be no dispatcher any more."""
        ...


C = TypeVar("C", bound=Openable)


@dataclass(eq=False, slots=True)
class _Open(Generic[C]):
    """A channel that is open until ``closing`` is set."""

    channel: C
    opened: asyncio.Future[None]
    closing: asyncio.Event = field(default_factory=asyncio.Event)


class OpenChannels(Generic[C]):
    """Holds channels open while entered.

    A broker whose settings have changed gets another channel; the former one is closed once
    nobody is subscribed to it.
    """

    def __init__(self) -> None:
        self._channels: dict[str, _Open[C]] = {}
        self._all: set[_Open[C]] = set()
        self._opening = asyncio.Lock()
        self._replacing: set[asyncio.Task[None]] = set()

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

    def items(self) -> Iterator[tuple[str, C]]:
        """Yield each broker with its channel."""
        return ((broker, each.channel) for broker, each in self._channels.items())

    async def get(self, broker: str, channel: C, *, refuse: Callable[[], None] = lambda: None) -> C:
        """Return the broker's channel: the one that it has, if that has the same settings.

        Otherwise the given one is opened, unless ``refuse`` raises, which is asked while no other
        one is being opened. Raises what entering the channel raises.
        """
        async with self._opening:
            former = self._channels.get(broker)
            if former is not None and former.channel.settings == channel.settings:
                return former.channel
            refuse()
            current = self._channels[broker] = await self._opened(channel)
            if former is not None:
                task = self._tasks.create_task(_replace(former))
                self._replacing.add(task)
                task.add_done_callback(self._replacing.discard)
            return current.channel

    async def _opened(self, channel: C) -> _Open[C]:
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


async def _keep(found: _Open[C]) -> None:
    """Keep the channel open; what is opened by a task is closed by the same one."""
    try:
        async with found.channel:
            found.opened.set_result(None)
            await found.closing.wait()
    except CemeshError as error:
        if found.opened.done():
            raise
        found.opened.set_exception(error)


async def _replace(former: _Open[C]) -> None:
    """Close a channel once all triggers have left it, and what was being appended has arrived."""
    await former.channel.stop_dispatching()
    await asyncio.sleep(_LINGERS)
    former.closing.set()
