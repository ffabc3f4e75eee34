"""Which trace a request is of, on all ways through the door."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from broker.app.serving import listening, served
from broker.event import Event
from broker.ingress import Door, Entrance, ingress
from broker.ports import Arrival
from broker.trigger import Broker
from tests.tracing import OWN, Tracing
from tests.watching import Noting

SOON = 30.0
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

LINES = [
    "POST /default/orders HTTP/1.1",
    "host: test",
    "ce-specversion: 1.0",
    "ce-id: 1",
    "ce-source: /x",
    "ce-type: t",
    "content-length: 0",
]


@asynccontextmanager
async def serving(
    tracing: Tracing, watch: Noting, stored: list[Event], *, through_door: bool
) -> AsyncIterator[socket.socket]:
    async def emit(events: Sequence[Event]) -> None:
        stored.extend(events)

    entrance = Entrance(broker=Broker(key="default/orders", access=None), emit=emit)
    door = Door(
        {"default/orders": entrance}.get,
        clients=list,
        max_event_bytes=1000,
        max_pending_bytes=1000,
        watch=watch,
        tracer=tracing,
    )
    with listening("127.0.0.1", 0) as listener:
        outer = door if through_door else None
        linger = timedelta(seconds=10)
        async with served(ingress(door), listener, linger=linger, door=outer):
            yield listener


async def send(listener: socket.socket, *lines: str) -> bytes:
    """Send the event with these lines in its head, and return the first line of the answer."""
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    try:
        writer.write("\r\n".join([*LINES, *lines, "", ""]).encode())
        return await asyncio.wait_for(reader.readuntil(b"\r\n"), SOON)
    finally:
        writer.close()
        await writer.wait_closed()


TOLD = [
    ([], None),
    ([f"traceparent: {PARENT}"], PARENT),
    ([f"Traceparent:{PARENT}\t", "TraceState: a=1", "tracestate:  b=2 "], f"{PARENT} a=1,b=2"),
    ([f"ce-traceparent: {PARENT}"], None),
    ([f"x-traceparent: {PARENT}"], None),
    (["traceparent: 00-1"], None),
    ([f"traceparent: {PARENT}", f"traceparent: {PARENT}"], None),
]


# A head that is read in one go, one that is not, and the application for other servers.
@pytest.mark.parametrize(
    ("through_door", "beside"), [(True, "x: y"), (True, "te: trailers"), (False, "x: y")]
)
async def test_a_request_is_of_the_trace_that_its_headers_tell(
    through_door: bool, beside: str
) -> None:
    tracing, watch, stored = Tracing(), Noting(), list[Event]()
    async with serving(tracing, watch, stored, through_door=through_door) as listener:
        for lines, _ in TOLD:
            assert (await send(listener, beside, *lines)).startswith(b"HTTP/1.1 202")

        assert (await send(listener, beside, f"traceparent: {PARENT}", "ce-a_b: 1")).startswith(
            b"HTTP/1.1 400"
        )

    assert tracing.refused == [("default/orders", 400, "invalid_event", PARENT)]
    parents = [parent for _, parent in TOLD]
    assert tracing.parents == parents
    assert {each.trace for each in stored} == {OWN}
    assert [event for _, event, _ in watch.stored] == stored
    arrivals = [origin.arrival for _, _, origin in watch.stored]
    assert arrivals == [Arrival(0.0, [parent], None) for parent in parents]
