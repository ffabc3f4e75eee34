"""Keeps what a broker has on the server there, so that no event misses the stream of all events."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiormq.abc import AbstractConnection

from broker.channels.rabbitmq.feeding import Feeding
from broker.channels.rabbitmq.state import State
from broker.channels.rabbitmq.streams import Stream
from broker.channels.rabbitmq.topology import Topology, is_gone, is_missing
from broker.errors import ChannelUnavailable
from broker.ports import BackendOptions

_RECOVERED_WITHIN: Final = 5.0
_LOOKS_EVERY: Final = 0.1

_log: Final = logging.getLogger("cemesh.channel")


class Upkeep:
    """The exchange and the streams of one broker. Every method raises `ChannelUnavailable`."""

    def __init__(
        self,
        topology: Topology,
        events: Stream,
        state: State,
        feeding: Feeding,
        options: BackendOptions,
    ) -> None:
        self._topology = topology
        self._events = events
        self._state = state
        self._feeding = feeding
        self._options = options

    async def declare(self) -> None:
        """Make what the broker has on the server, as far as it is not there."""
        await self._events.declare(
            max_age=self._options.retention_age, max_bytes=self._options.retention_bytes
        )
        await self._topology.declare()

    async def restore(self) -> None:
        """Make again what somebody has deleted."""
        extra = {"broker": self._topology.broker}
        _log.warning("exchange or stream is gone and is made again", extra=extra)
        await self.declare()
        await self.rebind()

    async def rebind(self, *, all: bool = True) -> None:
        """Bind the queues of all triggers, in case the exchange is another one than it was.

        Or of those alone that are bound by keys.
        """
        for trigger, noted in [*self._state.ledger.triggers().items()]:  # others come meanwhile
            if not noted.gone and (all or noted.keys):
                await self._feeding.rebind(trigger, noted)

    async def ready(self) -> None:
        """Return once what is published to the exchange comes into the stream.

        A server that starts lets clients in before it has recovered its streams, for some tenths
        of a second. Until then it leaves a stream out, and confirms what the other queues have.
        """
        began = asyncio.get_running_loop().time()
        while True:
            try:
                await self._topology.bind_events()
            except ChannelUnavailable as error:
                is_late = asyncio.get_running_loop().time() - began > _RECOVERED_WITHIN
                if is_gone(error):
                    await self.restore()
                elif is_missing(error) and not is_late:
                    await asyncio.sleep(_LOOKS_EVERY)
                else:
                    raise
            else:
                return

    async def watch(self, _: AbstractConnection) -> None:
        """Make the stream again when it is deleted, until the connection is lost.

        What the server confirms in between, for it is in the queues of triggers, is not in it.
        """
        while True:
            try:
                await self._events.ended()
            except ChannelUnavailable as error:
                if not is_gone(error):
                    raise
            if not await self._topology.is_there(self._topology.events):
                await self.restore()

    async def watch_exchanges(self, _: AbstractConnection) -> None:
        """Make the exchanges again when one is deleted, until the connection is lost.

        What the server confirms in between, for the stream has it, may be in no queue.
        """
        while True:
            try:
                await self._topology.watch()
            except ChannelUnavailable as error:
                if not is_gone(error):
                    raise
            await self.restore()
