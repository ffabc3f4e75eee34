"""Events on a port as the mesh serves it: how their connections rest and end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.app import serving
from broker.app.serving import Port, listening, served
from broker.event import Event
from broker.ingress import Door, Entrance, ingress
from broker.ports import UNWATCHED, Emit, Origin, Unwatched, Watcher
from broker.trigger import Broker

SOON = 30.0
STORED = b"HTTP/1.1 202 Accepted\r\n"
EVENT = (
    b"POST /default/orders HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n"
    b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /x\r\nce-type: t\r\n\r\n"
)


class Channel:
    """Stores nothing; `submit` returns futures that a test ends."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.futures: list[asyncio.Future[None]] = []

    def submit(self, events: Sequence[Event]) -> asyncio.Future[None]:
        self.futures.append(asyncio.get_running_loop().create_future())
        self.asked.set()
        return self.futures[-1]

    async def append(self, events: Sequence[Event]) -> None:
        await self.submit(events)


def stored(events: Sequence[Event]) -> asyncio.Future[None]:
    """Store at once, as the channel in memory does."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with listening("127.0.0.1", 0) as listener:
        yield listener


@asynccontextmanager
async def serving_to(
    emit: Emit,
    listener: socket.socket,
    *,
    linger: timedelta = timedelta(minutes=10),
    watch: Watcher = UNWATCHED,
) -> AsyncIterator[Port]:
    entrance = Entrance(broker=Broker(key="default/orders", access=None), emit=emit)
    door = Door(
        {"default/orders": entrance}.get,
        clients=list,
        max_event_bytes=1000,
        max_pending_bytes=1000,
        watch=watch,
    )
    async with served(ingress(door), listener, linger=linger, door=door) as port:
        yield port


@asynccontextmanager
async def connected(
    listener: socket.socket,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()


async def head_of_answer(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), SOON)


async def rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await asyncio.wait_for(reader.read(), SOON)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("way", [lambda it: it.submit, lambda it: it.append])
async def test_a_port_that_closes_answers_the_events_under_way_and_says_goodbye(
    listener: socket.socket, way: Callable[[Channel], Emit]
) -> None:
    channel = Channel()
    async with serving_to(way(channel), listener) as port, connected(listener) as (reader, writer):
        writer.write(EVENT)
        await channel.asked.wait()
        async with connected(listener) as (idle, _):
            port.close()
            assert await rest(idle) == b""  # so the port has begun to close
        channel.futures[0].set_result(None)

        answer = await rest(reader)

    assert answer.startswith(STORED)
    assert answer.endswith(b"\r\nconnection: close\r\n\r\n")


async def test_an_append_that_takes_longer_than_a_port_lingers_is_answered_with_500(
    listener: socket.socket,
) -> None:
    channel = Channel()
    async with connected(listener) as (reader, writer):
        linger = timedelta(seconds=1)
        async with serving_to(channel.append, listener, linger=linger) as port:
            writer.write(EVENT)
            await channel.asked.wait()
            port.close()

            answer = await rest(reader)

    assert answer.startswith(b"HTTP/1.1 500 ")


async def test_a_port_that_breaks_off_answers_nothing_any_more(listener: socket.socket) -> None:
    channel = Channel()
    async with (
        serving_to(channel.submit, listener) as port,
        connected(listener) as (reader, writer),
    ):
        writer.write(EVENT)
        await channel.asked.wait()
        port.break_off()

        assert await rest(reader) == b""
        channel.futures[0].set_result(None)


async def test_a_connection_that_rests_is_closed_and_not_before_its_time(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_KEEP_ALIVE", timedelta(seconds=1))
    async with serving_to(stored, listener), connected(listener) as (reader, writer):
        since = asyncio.get_running_loop().time()  # the rest begins later
        writer.write(EVENT)

        assert (await head_of_answer(reader)).startswith(STORED)
        assert await rest(reader) == b""
        assert asyncio.get_running_loop().time() - since >= 1


class Ahead:
    """The loop of a connection, whose clock is ahead by so many seconds."""

    def __init__(self, port: Port) -> None:
        [connection] = cast("set[Any]", port._server.server_state.connections)
        self.seconds = 0.0
        self._loop = connection.loop
        self._connection = connection
        connection.loop = self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the loop has
        return getattr(self._loop, name)

    def time(self) -> float:
        return float(self._loop.time()) + self.seconds

    def closes(self) -> bool:
        """Let the connection look whether it has rested for too long."""
        self._connection.timeout_keep_alive_handler()
        return bool(self._connection.transport.is_closing())


async def test_each_request_begins_the_rest_anew(listener: socket.socket) -> None:
    whole = serving._KEEP_ALIVE.total_seconds()
    async with serving_to(stored, listener) as port, connected(listener) as (reader, writer):
        writer.write(EVENT)
        await head_of_answer(reader)
        clock = Ahead(port)
        clock.seconds = whole / 2
        writer.write(EVENT)
        await head_of_answer(reader)

        clock.seconds = whole + 1
        assert not clock.closes()
        clock.seconds = whole / 2 + whole + 1
        assert clock.closes()
        assert await rest(reader) == b""


async def test_a_request_under_way_is_no_rest(listener: socket.socket) -> None:
    channel = Channel()
    async with (
        serving_to(channel.submit, listener) as port,
        connected(listener) as (reader, writer),
    ):
        writer.write(EVENT)
        await channel.asked.wait()
        channel.futures[0].set_result(None)
        assert (await head_of_answer(reader)).startswith(STORED)
        channel.asked.clear()
        writer.write(EVENT)
        await channel.asked.wait()

        clock = Ahead(port)
        clock.seconds = 2 * serving._KEEP_ALIVE.total_seconds()
        assert not clock.closes()

        channel.futures[1].set_result(None)
        assert (await head_of_answer(reader)).startswith(STORED)


async def test_events_and_other_requests_share_a_connection(listener: socket.socket) -> None:
    options = b"OPTIONS /default/orders HTTP/1.1\r\nhost: test\r\n\r\n"
    async with serving_to(stored, listener), connected(listener) as (reader, writer):
        writer.write(EVENT + options + EVENT)

        answers = [await head_of_answer(reader) for _ in range(3)]

    assert [each.split()[1] for each in answers] == [b"202", b"200", b"202"]


class Failing(Unwatched):
    """Fails at what it is told."""

    def accepted(
        self, broker: str, events: Sequence[Event], origin: Origin, seconds: float | None
    ) -> None:
        raise ZeroDivisionError("oh no")


async def test_who_watches_and_fails_keeps_no_answer_back(listener: socket.socket) -> None:
    channel = Channel()
    faults: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    async with (
        serving_to(channel.submit, listener, watch=Failing()),
        connected(listener) as (reader, writer),
    ):
        writer.write(EVENT)
        await asyncio.wait_for(channel.asked.wait(), SOON)
        channel.futures[0].set_result(None)
        assert (await head_of_answer(reader)).startswith(STORED)

    assert [repr(each) for each in faults] == ["ZeroDivisionError('oh no')"]
