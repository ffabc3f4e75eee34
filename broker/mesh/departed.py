"""Takes triggers off their channels that are in the manifests no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from broker.errors import ChannelUnavailable
from broker.mesh.running import OpenBroker
from broker.ports import Channel
from broker.trigger import Desired

_log: Final = logging.getLogger("cemesh.mesh")

_STRANGERS_STAY: Final = 60.0
"""Seconds within which a process has heard of whatever trigger another one was told of before."""


class Departed:
    """What has left the manifests, while this process ran or before.

    A trigger that this process has never known may be known to another one already, which shares
    the channel and was told of a change before us. So it is left where it is for a while.
    """

    def __init__(self, is_here: Callable[[str, Channel], bool]) -> None:
        self._is_here = is_here
        self._known: set[str] = set()
        self._seen: set[Channel] = set()
        self._strangers: dict[asyncio.Task[None], None] = {}

    def know(self, desired: Desired) -> None:
        self._known |= desired.triggers.keys() | desired.held

    async def take_off(
        self,
        brokers: Iterable[OpenBroker],
        tasks: asyncio.TaskGroup,
        *,
        shared: Callable[[str], bool],
    ) -> None:
        """Take off what is on the channels of these brokers, and is not here nor wanted."""
        for each in brokers:
            is_new = each.channel not in self._seen
            self._seen.add(each.channel)
            for trigger in await each.channel.triggers():
                if self._is_here(trigger, each.channel):
                    continue
                if trigger in self._known or not shared(each.broker.key):
                    await take_off(trigger, each.channel)
                elif is_new:
                    task = tasks.create_task(self._take_off_later(trigger, each.channel))
                    self._strangers[task] = None
                    task.add_done_callback(self._strangers.pop)

    def stop(self) -> None:
        """Leave the strangers to whoever runs after us."""
        for task in self._strangers:
            task.cancel()

    async def _take_off_later(self, trigger: str, channel: Channel) -> None:
        await asyncio.sleep(_STRANGERS_STAY)
        if trigger not in self._known:
            await take_off(trigger, channel)


async def take_off(trigger: str, channel: Channel) -> None:
    """Take the trigger off the channel, or log why that cannot be."""
    try:
        await channel.unsubscribe(trigger)
    except ChannelUnavailable as error:
        extra = {"trigger": trigger, "why": str(error)}
        _log.warning("trigger not taken off its channel", extra=extra)
