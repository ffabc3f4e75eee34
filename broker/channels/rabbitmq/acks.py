"""Acks and their opposite, written in order and as few as may be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from aiormq.abc import AbstractChannel

from broker.channels.rabbitmq.connecting import reported
from broker.channels.rabbitmq.settings import Settings


@dataclass(frozen=True, slots=True)
class _Tags:
    tags: Sequence[int]
    requeue: bool


class Acks:
    """What a channel tells the server of the messages that it was delivered.

    Messages up to which all are done with are acked together.
    """

    def __init__(self, channel: AbstractChannel, settings: Settings) -> None:
        self._channel = channel
        self._settings = settings
        self._queue: asyncio.Queue[_Tags | asyncio.Future[None]] = asyncio.Queue()
        self._through = 0  # all up to this tag are done with
        self._done: set[int] = set()  # these are, beyond it
        self._has_ended = False

    def ack(self, tags: Sequence[int]) -> None:
        """Be done with these messages."""
        self._queue.put_nowait(_Tags(tags, requeue=False))

    def give_back(self, tags: Sequence[int]) -> None:
        """Let the server deliver these messages again, to anybody."""
        self._queue.put_nowait(_Tags(tags, requeue=True))

    @property
    def is_open(self) -> bool:
        """Whether what is told still gets to the server."""
        return not self._channel.is_closed

    async def sync(self) -> None:
        """Return once the server has seen all that was told, and all it had sent has come.

        Raises `ChannelUnavailable`.
        """
        await self.written()
        with reported(self._settings):
            await self._channel.flow(active=True)  # which it is; but that has an answer

    async def written(self) -> None:
        """Return once all that was told before is on its way, or the connection is lost."""
        if not self._has_ended:
            passed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.put_nowait(passed)
            await passed

    async def run(self) -> None:
        """Write until cancelled. Raises what the channel raises."""
        try:
            while True:
                await self._write(await self._queue.get())
        finally:
            self._has_ended = True
            while not self._queue.empty():
                _pass(self._queue.get_nowait())

    async def _write(self, found: _Tags | asyncio.Future[None]) -> None:
        if isinstance(found, asyncio.Future):
            _pass(found)
        elif found.requeue:
            for tag in found.tags:
                await self._channel.basic_nack(tag, requeue=True, wait=False)
            self._note(found.tags)
        else:
            await self._ack(found.tags)

    async def _ack(self, tags: Sequence[int]) -> None:
        self._note(tags)
        together = [tag for tag in tags if tag <= self._through]
        if together:
            await self._channel.basic_ack(max(together), multiple=True, wait=False)
        for tag in tags:
            if tag > self._through:
                await self._channel.basic_ack(tag, wait=False)

    def _note(self, tags: Sequence[int]) -> None:
        self._done.update(tags)
        while self._through + 1 in self._done:
            self._through += 1
            self._done.remove(self._through)


def _pass(found: _Tags | asyncio.Future[None]) -> None:
    if isinstance(found, asyncio.Future) and not found.done():
        found.set_result(None)
