"""The live stream of a broker's events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlencode

from broker.channels.memory import MemoryChannel
from broker.event import Event
from tests.unit.stand_in import (
    DEADLINE,
    StandIn,
    admin_port,
    application,
    ask,
    event,
    eventually,
    line,
    served,
)

TAIL = "/api/v1/brokers/default/default/tail"


@asynccontextmanager
async def following(
    port: int, wanted: str = ""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Follow the broker; the body is read as it came, in chunks."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    query = f"?{urlencode({'filter': wanted})}" if wanted else ""
    writer.write(f"GET {TAIL}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-type: application/x-ndjson" in head.lower()
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def chunk(reader: asyncio.StreamReader) -> bytes:
    size = int(await line(reader), 16)
    return (await asyncio.wait_for(reader.readexactly(size + 2), DEADLINE))[:-2]


async def test_events_are_streamed_as_they_are_stored() -> None:
    mesh = await StandIn.start()
    await mesh.mesh_channel.append([event("before")])
    async with admin_port(mesh) as port, following(port) as (reader, _):
        await mesh.mesh_channel.append([event("1", subject="new")])
        first = await chunk(reader)
        await mesh.mesh_channel.append([event("2")])
        second = await chunk(reader)

    assert json.loads(first) == {
        "specversion": "1.0",
        "id": "1",
        "source": "/test",
        "type": "com.example.test",
        "subject": "new",
        "datacontenttype": "application/json",
        "data": {"n": 1},
    }
    assert json.loads(second)["id"] == "2"


async def test_every_event_is_one_line_whatever_its_payload_looks_like() -> None:
    mesh = await StandIn.start()
    async with admin_port(mesh) as port, following(port) as (reader, _):
        await mesh.mesh_channel.append([event("1", b'{\r\n "n": "a\\nb"\n}')])
        streamed = await chunk(reader)

    assert streamed.count(b"\n") == 1
    assert streamed.endswith(b"\n")
    assert json.loads(streamed)["data"] == {"n": "a\nb"}


async def test_a_filter_lets_only_through_what_passes_it() -> None:
    mesh = await StandIn.start()
    wanted = "subject LIKE 'order-%' AND NOT EXISTS test"
    async with admin_port(mesh) as port, following(port, wanted) as (reader, _):
        await mesh.mesh_channel.append([event("1"), event("2", subject="order-7", test="yes")])
        await mesh.mesh_channel.append([event("3", subject="order-8"), event("4")])
        streamed = await chunk(reader)

    assert json.loads(streamed)["id"] == "3"


async def test_a_filter_that_is_wrong_is_refused_with_the_column() -> None:
    async with admin_port(await StandIn.start()) as port:
        answer = await ask(port, "GET", f"{TAIL}?filter={quote('type = = 1')}")

    assert answer.status == 400
    detail = json.loads(answer.body)["detail"]
    assert detail.startswith("'filter': ")
    assert "at column 8" in detail


async def test_a_server_that_stops_ends_the_stream() -> None:
    mesh = await StandIn.start()
    closing = asyncio.Event()
    async with (
        served(application(mesh, closing)) as (port, server),
        following(port) as (
            reader,
            _,
        ),
    ):
        server.should_exit = True
        closing.set()
        end = await asyncio.wait_for(reader.read(), DEADLINE)

    assert end == b"0\r\n\r\n"


async def test_a_client_that_leaves_is_no_longer_fed() -> None:
    mesh = await StandIn.start()
    channel = mesh.mesh_channel = CountingChannel(mesh.backend, 1 << 20)
    async with admin_port(mesh) as port:
        async with following(port):
            assert channel.observers == 1
        await eventually(lambda: channel.observers == 0)


class CountingChannel(MemoryChannel):
    """Knows how many follow it."""

    observers = 0

    @asynccontextmanager
    async def tail(self) -> AsyncIterator[AsyncIterator[Event]]:
        async with super().tail() as events:
            self.observers += 1
            try:
                yield events
            finally:
                self.observers -= 1
