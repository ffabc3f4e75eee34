"""One connection to RabbitMQ, kept up: opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final, Self

from aiormq.abc import AbstractChannel, AbstractConnection
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from broker.channels.rabbitmq.connecting import (
    HEARTBEAT,
    Connection,
    at,
    close,
    connect,
    reported,
    said,
)
from broker.channels.rabbitmq.settings import Settings
from broker.channels.trouble import Trouble
from broker.errors import ChannelUnavailable

_OPENED_WITHIN: Final = 10.0
_BEGUN_AGAIN_AFTER: Final = 1.0
_BETWEEN_ATTEMPTS: Final = wait_random_exponential(multiplier=0.1, min=0.1, max=5)

_log: Final = logging.getLogger("cemesh.channel")

Work = Callable[[AbstractConnection], Awaitable[None]]


class Link:
    """Keeps a connection open while entered. Entering raises `ChannelUnavailable`.

    ``purpose`` is what the server's list of connections tells it is for.
    """

    def __init__(
        self, settings: Settings, purpose: str, *, heartbeat: timedelta = HEARTBEAT
    ) -> None:
        self.settings: Final = settings
        self._purpose = purpose
        self._heartbeat = heartbeat
        self._connection: Connection | None = None
        self._trouble: str | None = "not connected yet"
        self._is_open = asyncio.Event()
        self._told = Trouble(lambda: self._trouble is not None)
        self._missing = Trouble()
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        connection = await connect(self.settings, self._purpose, heartbeat=self._heartbeat)
        async with AsyncExitStack() as running:
            running.push_async_callback(self._close)
            self._open(connection)
            group = await running.enter_async_context(asyncio.TaskGroup())
            running.callback(group.create_task(self._run()).cancel)
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()

    @property
    def trouble(self) -> str | None:
        """Why there is no connection now, or None."""
        return self._trouble

    @property
    def blocked(self) -> str | None:
        """Why the server does not read from the connection now, or None."""
        return self._connection.blocked if self._connection else None

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Return a channel of the connection, with publisher confirms if told so.

        Raises `ChannelUnavailable`, at once while there is no connection.
        """
        connection = self._connection
        if connection is None or not connection.is_opened:
            raise ChannelUnavailable(self._trouble or f"{at(self.settings)}: connection lost")
        with reported(self.settings):
            return await connection.channel(publisher_confirms=confirms, timeout=_OPENED_WITHIN)

    async def keep(self, work: Work) -> None:
        """Do the work over each connection, until cancelled.

        It is cancelled, and awaited, when that connection is lost, and begun again over the next.
        Work that raises `ChannelUnavailable` is begun again after a second, of which is told.
        """
        while True:
            await self._is_open.wait()
            connection = self._connection
            if connection is None:
                continue
            try:
                await self._over(connection, work)
            except ChannelUnavailable as error:
                self._told.met("rabbitmq refuses", error, purpose=self._purpose)
                await asyncio.sleep(_BEGUN_AGAIN_AFTER)

    async def _over(self, connection: Connection, work: Work) -> None:
        doing = asyncio.ensure_future(work(connection))
        try:
            await asyncio.wait({doing, connection.closing}, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
                await asyncio.wait({connection.closing})
        finally:
            doing.cancel()
            await asyncio.wait({doing})

    async def _run(self) -> None:
        while True:
            connection = self._connection
            assert connection is not None  # noqa: S101
            await asyncio.wait({connection.closing})
            cause = connection.closing.exception() or ConnectionError("closed")
            self._lost(f"{at(self.settings)}: {said(cause, self.settings)}")
            self._open(await self._reconnect())
            _log.info("rabbitmq reachable again", extra=self._fields)

    def _open(self, connection: Connection) -> None:
        self._connection, self._trouble = connection, None
        self._is_open.set()

    def _lost(self, why: str) -> None:
        self._connection, self._trouble = None, why
        self._is_open.clear()
        _log.warning("rabbitmq connection lost", extra={**self._fields, "why": why})

    async def _reconnect(self) -> Connection:
        async for attempt in AsyncRetrying(
            wait=_BETWEEN_ATTEMPTS,
            retry=retry_if_exception_type(ChannelUnavailable),
            after=self._missed,
        ):
            with attempt:
                return await connect(self.settings, self._purpose, heartbeat=self._heartbeat)
        raise AssertionError

    def _missed(self, attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        if isinstance(error, ChannelUnavailable):
            self._trouble = str(error)
            self._missing.met("rabbitmq unreachable", error, **self._fields)

    @property
    def _fields(self) -> dict[str, str]:
        return {"server": self.settings.server, "purpose": self._purpose}

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._trouble = "the mesh is shutting down"
        self._is_open.clear()
        if connection is not None:
            await close(connection)
