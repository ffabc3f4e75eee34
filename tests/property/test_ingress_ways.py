"""The ways into the data port are one: no request tells by its answer which of them it came by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from broker.app.events import EventProtocol
from broker.app.serving import configured
from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.ingress import Door, Entrance, ingress
from broker.trigger import Access, Broker
from tests.conformance.dataport import WAYS, DataPort
from tests.property.test_ingress_fuzz import LAST, damaged, framed, read_to_end

ACCESS = {"default/orders": None, "default/guarded": Access(bearer={"x": "x"})}
LIMITS = {"max_event_bytes": 3000, "max_pending_bytes": 6000}


@pytest.fixture(scope="module")
def ports() -> Iterator[Sequence[DataPort]]:
    ports = [DataPort(ACCESS, way=way, **LIMITS) for way in WAYS]
    with ports[0].running(), ports[1].running(), ports[2].running():
        yield ports


def refuse_some(events: Sequence[Event]) -> None:
    for event in events:
        match event.attributes.get("note"):
            case "1.0":
                raise ChannelFull("full", retry_after=timedelta(seconds=7))
            case "100-continue":
                raise ChannelUnavailable("down")
            case "":
                raise RuntimeError("a bug")


def prepare(port: DataPort) -> None:
    port.reset()

    async def emit(events: Sequence[Event]) -> None:
        refuse_some(events)
        await port.store(events)

    port.emit = emit


def exchange(port: DataPort, sent: bytes) -> bytes:
    with port.connect() as connection:
        connection.sendall(sent)
        return re.sub(rb"date: [^\r]*\r\n", b"", read_to_end(connection))


@given(requests=st.lists(framed(), min_size=1, max_size=3))
def test_every_way_gives_the_same_answers_and_stores_the_same_events(
    ports: Sequence[DataPort], requests: list[bytes]
) -> None:
    answers = []
    for port in ports:
        prepare(port)
        answers.append(exchange(port, b"".join([*requests, LAST])))

    assert answers[0] == answers[1] == answers[2]
    assert ports[0].stored == ports[1].stored == ports[2].stored
    assert ports[0].refused == ports[1].refused == ports[2].refused


class Wire(asyncio.Transport):
    """What a server wrote. TCP would not keep the pieces that a test sends apart."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def fed(pieces: Sequence[bytes]) -> tuple[bytes, list[Event]]:
    """Return what a connection on which these pieces come one by one answers and stores."""
    events: list[Event] = []

    def emit(given: Sequence[Event]) -> asyncio.Future[None]:
        refuse_some(given)
        events.extend(given)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def feed() -> bytes:
        brokers = {
            key: Entrance(broker=Broker(key=key, access=access), emit=emit)
            for key, access in ACCESS.items()
        }
        door = Door(brokers.get, clients=list, on_refused=lambda broker, status: None, **LIMITS)
        config = configured(ingress(door), linger=timedelta(seconds=1), door=door)
        config.load()
        make = partial(EventProtocol, config=config, server_state=ServerState(), app_state={})
        protocol, wire = make(door=door), Wire()
        protocol.connection_made(wire)
        for piece in pieces:
            if not wire.is_closing():
                protocol.data_received(piece)
            while not wire.is_closing() and protocol.tasks:
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        return wire.written

    return asyncio.run(feed()), events


@given(request=framed(), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_a_request_in_pieces_is_the_request(request: bytes, cuts: list[int]) -> None:
    places = sorted({0, len(request), *(cut for cut in cuts if cut < len(request))})
    pieces = [request[start:end] for start, end in pairwise(places)]

    assert fed(pieces) == fed([request])


# The application answers in a task, and so not where the connection is broken at once.
events = damaged().filter(lambda request: request.startswith(b"POST /default/orders HTTP/1.1\r\n"))


@given(requests=st.lists(framed(), max_size=2), last=events)
def test_what_comes_at_once_is_read_as_what_comes_byte_by_byte(
    requests: list[bytes], last: bytes
) -> None:
    sent = b"".join([*requests, last])

    assert fed([*requests, last]) == fed([sent[n : n + 1] for n in range(len(sent))])
