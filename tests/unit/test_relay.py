"""The network of the tests that can fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.services.mesh import HOST, free_port
from tests.services.relay import Relay

SOON = 30.0


@dataclass
class Echo:
    """A server that says again what it hears, and keeps it."""

    address: str
    heard: bytearray = field(default_factory=bytearray)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def echo(self, data: bytes) -> bytes:
        self.writer.write(data)
        async with asyncio.timeout(SOON):
            return await self.reader.readexactly(len(data))

    async def ended(self) -> bool:
        async with asyncio.timeout(SOON):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def client_of(relay: Relay) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(*relay.address.split(":"))
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo(f"{HOST}:{free_port()}")
    async with await asyncio.start_server(echo.serve, *echo.address.split(":")):
        yield echo


@pytest.fixture
async def relay(echo: Echo) -> AsyncIterator[Relay]:
    async with Relay(f"{HOST}:{free_port()}", to=echo.address) as relay:
        yield relay


async def test_both_sides_are_heard_in_full(relay: Relay) -> None:
    data = bytes(range(256)) * 20_000
    async with client_of(relay) as one, client_of(relay) as other:
        said = await asyncio.gather(one.echo(data), other.echo(b"x"))

    assert list(said) == [data, b"x"]


async def test_the_end_of_one_side_is_that_of_the_other(relay: Relay) -> None:
    async with client_of(relay) as client:
        client.writer.write(b"last")
        client.writer.write_eof()

        async with asyncio.timeout(SOON):
            assert await client.reader.read() == b"last"


async def test_a_cut_ends_connections_refuses_others_and_is_over_at_once(
    relay: Relay,
) -> None:
    async with client_of(relay) as before:
        await before.echo(b"x")
        with relay.cut():
            assert await before.ended()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*relay.address.split(":"))

    async with client_of(relay) as after:
        assert await after.echo(b"y") == b"y"


async def test_what_is_said_from_a_cut_on_is_not_heard(relay: Relay, echo: Echo) -> None:
    async with client_of(relay) as known, client_of(relay) as unknown:
        await known.echo(b"before")
        known.writer.write(b"too late")
        unknown.writer.write(b"too early")
        with relay.cut():
            assert await known.ended()
            assert await unknown.ended()

    async with client_of(relay) as after:
        await after.echo(b", after")
    assert echo.heard == b"before, after"


async def test_a_hung_relay_takes_all_and_hands_it_on_when_it_goes_on(
    relay: Relay, echo: Echo
) -> None:
    async with client_of(relay) as known:
        await known.echo(b"1")
        with relay.hung():
            known.writer.write(b"2")
            async with client_of(relay) as unknown:
                unknown.writer.write(b"nobody")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await known.reader.read(1)
            assert echo.heard == b"1"

        async with asyncio.timeout(SOON):
            assert await known.reader.readexactly(1) == b"2"


async def test_a_server_that_is_not_there_ends_the_connection() -> None:
    async with (
        Relay(f"{HOST}:{free_port()}", to=f"{HOST}:{free_port()}") as relay,
        client_of(relay) as client,
    ):
        assert await client.ended()


def test_a_relay_takes_the_place_of_host_and_port_in_a_url() -> None:
    relay = Relay("127.0.0.1:12345", to="127.0.0.1:5672")

    assert relay.in_url("amqp://me:a%40b@mq.test:5672/%2F?x=1") == (
        "amqp://me:a%40b@127.0.0.1:12345/%2F?x=1"
    )
    assert relay.in_url("http://mq.test") == "http://127.0.0.1:12345"
