"""One connection to RabbitMQ, kept up: opened again whenever it is lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from typing import Final, Self

from aiormq.abc import AbstractChannel
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from broker.channels.rabbitmq.settings import Settings
from broker.channels.trouble import Trouble
from broker.connections.rabbitmq.connecting import HEARTBEAT, at, close, connect, reported, said
from broker.connections.rabbitmq.connection import Connection
from broker.errors import ChannelFull, ChannelUnavailable

_OPENED_WITHIN: Final = 10.0
_BEGUN_AGAIN_AFTER: Final = 1.0
_CANCELLED_EVERY: Final = 5.0
_BETWEEN_ATTEMPTS: Final = wait_random_exponential(multiplier=0.2, min=0.1, max=5)

_log: Final = logging.getLogger("cemesh.channel")

Work = Callable[[Connection], Awaitable[None]]


class Link:
    """Keeps a connection open while entered; entering raises `ChannelUnavailable`.

    ``purpose`` is what the server's list of connections says it is for. That one is lost is told
    in the log, and so is that there is another: it is tried for at once, then every 5 s at least.
    """

    def __init__(
        self, settings: Settings, purpose: str, *, heartbeat: timedelta = HEARTBEAT
    ) -> None:
        self.settings: Final = settings
        self._connect = partial(connect, settings, purpose, heartbeat=heartbeat)
        self._fields: Final = {"server": settings.server, "connection": purpose}
        self._connection: Connection | None = None
        self._trouble: str | None = f"{at(settings)}: there is no connection yet"
        self._opened = asyncio.Event()
        self._asking: list[asyncio.Future[Connection]] = []
        self._hurry = asyncio.Event()
        self._has_ended = False
        self._work_trouble = Trouble(lambda: self._trouble is not None)
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        connection = await self._connect()
        async with AsyncExitStack() as running:
            running.push_async_callback(self._close)
            self._use(connection)
            group = await running.enter_async_context(asyncio.TaskGroup())
            running.callback(group.create_task(self._run(connection)).cancel)
            self._running = running.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._running.aclose()  # the task group would wrap what was raised in the context

    @property
    def trouble(self) -> str | None:
        """Why there is no connection now, or None."""
        return self._trouble

    @property
    def blocked(self) -> str | None:
        """The alarm for which the server reads nothing from the connection now, or None."""
        return None if self._connection is None else self._connection.blocked

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Return a new channel, with publisher confirms or without. It goes with the connection.

        While there is no connection, it is tried for at once, and this raises what that comes to:
        `ChannelUnavailable`.
        """
        connection = self._connection or await self._asked_for()
        # Told the time itself, aiormq would wait by `wait_for`, which up to Python 3.11 loses a
        # cancellation that comes with the answer.
        with reported(self.settings):
            async with asyncio.timeout(_OPENED_WITHIN):
                return await connection.channel(publisher_confirms=confirms)

    async def _asked_for(self) -> Connection:
        """Return the connection that an attempt comes to which begins from now on."""
        if self._has_ended:
            raise ChannelUnavailable(str(self._trouble))
        outcome: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._asking.append(outcome)
        self._hurry.set()
        return await outcome

    async def keep(self, work: Work) -> None:
        """Do the work over each connection, until cancelled.

        It is cancelled, and awaited, when that connection is lost, and begun anew over the next.
        Work that raises `ChannelUnavailable` or `ChannelFull` is begun again after a second,
        of which is told; work that returns is not, before the next connection.
        """
        while True:
            await self._opened.wait()
            connection = self._connection
            if connection is None:
                continue
            lost = connection.closing
            try:
                await _until(lost, work(connection))
            except (ChannelUnavailable, ChannelFull) as error:
                await asyncio.wait({lost}, timeout=_BEGUN_AGAIN_AFTER)
                self._work_trouble.met("cannot use rabbitmq", error, **self._fields)
            else:
                await asyncio.wait({lost})

    # --- what becomes of the connection ------------------------------------------------------

    async def _run(self, connection: Connection) -> None:
        while True:
            await asyncio.wait({connection.closing})
            connection = await self._connect_again()
            self._use(connection)
            _log.info("rabbitmq reachable again", extra=self._fields)

    def _use(self, connection: Connection) -> None:
        self._connection, self._trouble = connection, None
        self._opened.set()
        connection.on_lost = partial(self._lost, connection)

    def _lost(self, connection: Connection, error: BaseException) -> None:
        if connection is not self._connection:
            return
        self._connection, self._trouble = None, f"{at(self.settings)}: {said(error, self.settings)}"
        self._opened.clear()
        _log.warning("rabbitmq connection lost", extra={**self._fields, "why": self._trouble})

    async def _connect_again(self) -> Connection:
        told: set[str] = set()

        def missed(attempt: RetryCallState) -> None:
            error = attempt.outcome and attempt.outcome.exception()
            self._trouble = str(error)
            level = logging.DEBUG if self._trouble in told else logging.WARNING
            told.add(self._trouble)
            _log.log(level, "rabbitmq unreachable", extra={**self._fields, "why": self._trouble})

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ChannelUnavailable),
            wait=_BETWEEN_ATTEMPTS,
            after=missed,
            sleep=self._pause,
        )
        return await retrying(self._attempt)

    async def _attempt(self) -> Connection:
        self._hurry.clear()
        asking, self._asking = self._asking, []
        try:
            connection = await self._connect()
        except ChannelUnavailable as error:
            _fail(asking, error)
            raise
        except BaseException:
            self._asking += asking
            raise
        asking, self._asking = asking + self._asking, []  # those of meanwhile, too
        for outcome in asking:
            if not outcome.done():
                outcome.set_result(connection)
        return connection

    async def _pause(self, seconds: float) -> None:
        """Return after so long, or when somebody asks for a connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._trouble = "the mesh is shutting down"
        self._opened.clear()
        self._has_ended = True
        _fail(self._asking, ChannelUnavailable(self._trouble))
        if connection is not None:
            await close(connection)


def _fail(asking: Iterable[asyncio.Future[Connection]], error: ChannelUnavailable) -> None:
    for outcome in asking:
        if not outcome.done():
            outcome.set_exception(error)


async def _until(lost: asyncio.Future[None], work: Awaitable[None]) -> None:
    """Do the work, and break it off when the connection is lost."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait({doing, lost}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        # Again and again, as aiormq waits by `wait_for`, too.
        while not doing.done():
            doing.cancel()
            await asyncio.wait({doing}, timeout=_CANCELLED_EVERY)
    if not doing.cancelled():
        doing.result()
    elif not lost.done():
        # aiormq cancels whoever waits for a channel that it ends.
        raise ChannelUnavailable("a channel was lost")
