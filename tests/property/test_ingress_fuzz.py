"""Malformed requests at the real data port: they are refused, and nothing worse happens."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ChannelFull, ChannelUnavailable
from broker.event import Event
from broker.trigger import Access
from tests.conformance.dataport import DataPort

BATCH: Final = b'[{"specversion":"1.0","id":"1","source":"/x","type":"t","note":1,"data":[1]}]'
STRUCTURED: Final = BATCH[1:-1]
PIECES: Final = [b"", b"{", b"}", b"]", b'"', b",", b":", b"\\", b"\xff", b"\x00", b"1e9", b"null"]
PIECES.extend([b'"id":"1",', b'"data_base64":1,', b"NaN", b"[" * 2000, b'{"a":' * 2000])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """An event or a batch, whole or damaged or cut off, or anything at all."""
    body = draw(st.sampled_from([STRUCTURED, BATCH, b"[]", b""]) | st.binary(max_size=100))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, len(body)))
        body = body[:start] + draw(st.sampled_from(PIECES)) + body[end:]
    return body


NAMES: Final = [b"ce-", b"ce-note", b"ce-data", b"ce-datacontenttype", b"ce-knativebrokerttl"]
NAMES.extend([b"content-encoding", b"authorization", b"host", b"CE-TYPE", b"ce-_", b"expect"])
VALUES: Final = [b"", b"1.0", b"%", b"%C0%A0", b'"\\"', b'"', b"100-continue", b"Bearer x", b"gzip"]
TYPES: Final = [b"application/cloudevents+json", b"application/cloudevents-batch+json"]
TYPES.extend([b"application/cloudevents+avro", b"text/plain; charset=", b"application/json", b";"])
CONTEXT: Final = [(b"ce-specversion", b"1.0"), (b"ce-id", b"1"), (b"ce-source", b"/x")]

# Whatever HTTP lets into a value; the control characters that it does not are another test's.
values = st.sampled_from(VALUES) | st.binary(max_size=20).map(
    lambda value: re.sub(rb"[\x00-\x1f\x7f]", b"", value)
)
headers = st.lists(
    st.tuples(st.just(b"content-type"), st.sampled_from(TYPES) | values)
    | st.tuples(st.sampled_from(NAMES), values)
    | st.sampled_from([*CONTEXT, (b"ce-type", b"t"), (b"connection", b"close")])
    | st.sampled_from([(b"connection", b"Upgrade, x"), (b"upgrade", b"h2c")]),
    max_size=8,
)
methods = st.sampled_from([b"POST"] * 8 + [b"GET", b"HEAD", b"PUT", b"OPTIONS", b"DELETE"])
paths = st.sampled_from(
    [b"/default/orders"] * 6
    + [b"/default/guarded", b"/default/full", b"/default/down", b"/", b"/default", b"/x?y=%"]
    + [b"/%2e%2e/%00", b"/default/orders%C0", b"//default/orders", b"/default/orders#x"]
)


@st.composite
def framed(draw: st.DrawFn) -> bytes:
    """A request that HTTP can read to its end, whatever is in it."""
    body = draw(bodies())
    head = [b"%s %s HTTP/1.1" % (draw(methods), draw(paths)), b"host: test"]
    context = [*CONTEXT, (b"ce-type", b"t")] if draw(st.booleans()) else []
    head += [b"%s: %s" % pair for pair in [*context, *draw(headers)]]
    if draw(st.booleans()):
        head.append(b"content-length: %d" % len(body))
    else:
        head.append(b"transfer-encoding: chunked")
        size = draw(st.integers(1, len(body) + 1))
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    return b"\r\n".join([*head, b"", b""]) + body


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request that was cut off or overwritten anywhere, its head and framing included."""
    request = draw(framed())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(request)))
        end = draw(st.integers(start, min(len(request), start + 10)))
        request = request[:start] + draw(st.binary(max_size=10)) + request[end:]
    return request[: draw(st.integers(0, len(request)))]


@pytest.fixture(scope="module")
def port() -> Iterator[DataPort]:
    async def emit(events: Sequence[Event]) -> None:
        for event in events:
            # Anything invalid that came this far would show as a 500.
            assert Event.checked(event.attributes, event.data, event.kinds) == event
            match event.attributes.get("note"):
                case "1.0":
                    raise ChannelFull("full")
                case "100-continue":
                    raise ChannelUnavailable("down")

    brokers = {"default/orders": None, "default/guarded": Access(bearer={"a": "b"})}
    with DataPort(brokers, max_event_bytes=3000, max_pending_bytes=6000).running() as port:
        port.emit = emit
        yield port


ANSWERS: Final = {200, 202, 400, 401, 404, 405, 413, 415, 429, 503}


@given(request=framed())
def test_every_request_is_answered_and_never_with_500(port: DataPort, request: bytes) -> None:
    answer = port.exchange(request, method=request.partition(b" ")[0].decode())

    assert answer.status in ANSWERS, answer
    assert (answer.status in {429, 503}) == ("retry-after" in answer.headers)


LAST: Final = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@given(requests=st.lists(framed(), max_size=3))
def test_requests_that_follow_each_other_are_each_answered(
    port: DataPort, requests: list[bytes]
) -> None:
    with port.connect() as connection:
        connection.sendall(b"".join([*requests, LAST]))
        received = read_to_end(connection)

    statuses = statuses_in(received)
    assert statuses
    assert set(statuses) <= ANSWERS | {100}, received
    # The connection ends before the last one only where a request or an answer asks for it.
    assert statuses[-1] == 404 or b"connection: close" in received


@given(request=damaged())
def test_a_damaged_request_is_answered_or_dropped_and_never_with_500(
    port: DataPort, request: bytes
) -> None:
    with port.connect() as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = read_to_end(connection)

    # It may have become several requests, each with an answer of its own, or none.
    assert set(statuses_in(received)) <= ANSWERS | {100}, received


def statuses_in(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]+)", received)]


def read_to_end(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes; times out if it never does."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except ConnectionResetError:  # the server closed with bytes of ours unread
        pass
    return received
