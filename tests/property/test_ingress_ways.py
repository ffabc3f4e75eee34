"""The ways into the data port are one: no request tells by its answer which of them it came by."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
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
from broker.ports import Emit
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
        self._reads = True
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True

    def is_reading(self) -> bool:
        return self._reads

    def pause_reading(self) -> None:
        self._reads = False

    def resume_reading(self) -> None:
        self._reads = True


@contextmanager
def connection(emit: Emit) -> Iterator[tuple[EventProtocol, Wire]]:
    brokers = {
        key: Entrance(broker=Broker(key=key, access=access), emit=emit)
        for key, access in ACCESS.items()
    }
    door = Door(
        brokers.get,
        clients=list,
        max_event_bytes=LIMITS["max_event_bytes"],
        max_pending_bytes=LIMITS["max_pending_bytes"],
    )
    config = configured(ingress(door), linger=timedelta(seconds=1), door=door)
    config.load()
    protocol = EventProtocol(config=config, server_state=ServerState(), app_state={}, door=door)
    wire = Wire()
    protocol.connection_made(wire)
    yield protocol, wire
    protocol.connection_lost(None)


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
        with connection(emit) as (protocol, wire):
            for piece in pieces:
                if not wire.is_closing():
                    protocol.data_received(piece)
                while not wire.is_closing() and protocol.tasks:
                    await asyncio.sleep(0)
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


EVENT = (
    b"POST /default/orders HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n"
    b"ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /x\r\nce-type: t\r\n\r\n"
)


def test_nothing_is_said_after_an_answer_that_closes_the_connection() -> None:
    large = b"fff\r\n%s\r\n" % (b"x" * 0xFFF)
    answers, _ = fed(
        [
            b"POST /default/orders HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"
            b"transfer-encoding: chunked\r\n\r\n" + large + b"no chunk"
        ]
    )

    assert answers.startswith(b"HTTP/1.1 413 ")
    assert answers.count(b"HTTP/1.1 ") == 1


def test_a_header_that_looks_like_a_request_is_none() -> None:
    answers, events = fed([b"GET /default/orders HTTP/1.1\r\nhost: test\r\nx: ", EVENT])

    assert answers.count(b"HTTP/1.1 ") == 1
    assert answers.startswith(b"HTTP/1.1 4")
    assert events == []


async def test_nothing_more_is_read_while_a_request_stands_in_line() -> None:
    storing: list[asyncio.Future[None]] = []

    def emit(events: Sequence[Event]) -> asyncio.Future[None]:
        storing.append(asyncio.get_running_loop().create_future())
        return storing[-1]

    with connection(emit) as (protocol, wire):
        protocol.data_received(EVENT)
        assert wire.is_reading()

        protocol.data_received(EVENT)
        assert not wire.is_reading()
        assert len(storing) == 1

        storing[0].set_result(None)
        while len(storing) < 2:
            await asyncio.sleep(0)
        assert wire.is_reading()


async def test_no_answer_is_given_while_a_client_does_not_read_those_before() -> None:
    def emit(events: Sequence[Event]) -> asyncio.Future[None]:
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stored.set_result(None)
        return stored

    with connection(emit) as (protocol, wire):
        protocol.pause_writing()
        protocol.data_received(EVENT + EVENT)
        await asyncio.sleep(0)
        assert wire.written == b""
        assert not wire.is_reading()  # for the second one stands in line

        protocol.resume_writing()
        while wire.written.count(b"HTTP/1.1 202 ") < 2:
            await asyncio.sleep(0)
        assert wire.is_reading()
