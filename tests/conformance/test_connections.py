"""What one connection to the data port carries: requests in line, and ways to end."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from broker.errors import ChannelUnavailable
from broker.event import Event
from tests.conformance.dataport import DEADLINE, DataPort, Gate, answer_on


@pytest.fixture(scope="module")
def open_port(way: str) -> Iterator[DataPort]:
    limits = {"max_event_bytes": 1000, "max_pending_bytes": 2000}
    with DataPort({"default/orders": None}, way=way, **limits).running() as port:
        yield port


@pytest.fixture
def port(open_port: DataPort) -> DataPort:
    open_port.reset()
    return open_port


def event(id: str, *more: str, body: bytes = b"", version: str = "1.1", type: str = "t") -> bytes:
    lines = [f"POST /default/orders HTTP/{version}", "host: test", f"content-length: {len(body)}"]
    lines += [f"ce-id: {id}", "ce-specversion: 1.0", "ce-source: /x", f"ce-type: {type}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


LACKING = event("lacking", type="")
OPTIONS = b"OPTIONS /default/orders HTTP/1.1\r\nhost: test\r\n\r\n"


def ids(port: DataPort) -> list[str]:
    return [each.id for each in port.stored]


def statuses_on(connection: socket.socket, count: int) -> list[int]:
    """Return the statuses of the next answers, which may have come together."""
    statuses: list[int] = []
    with connection.makefile("rb") as answers:
        while len(statuses) < count:
            statuses.append(int(answers.readline().split()[1]))
            length = 0
            while (line := answers.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                length = int(value) if name == b"content-length" else length
            answers.read(length)
    return statuses


def rest_of(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


# --- in line -------------------------------------------------------------------------------


def test_requests_sent_at_once_are_answered_in_their_order(port: DataPort) -> None:
    requests = [event("1"), LACKING, OPTIONS, event("2", body=b"x" * 1001), event("3", body=b"x")]

    with port.connect() as connection:
        connection.sendall(b"".join(requests))
        statuses = statuses_on(connection, len(requests))

    assert statuses == [202, 400, 200, 413, 202]
    assert ids(port) == ["1", "3"]


def test_a_request_in_line_is_not_begun_before_the_one_in_front_is_answered(
    port: DataPort,
) -> None:
    gate = Gate()
    port.emit = gate.emit
    with port.connect() as connection, port.connect() as other:
        connection.sendall(event("held") + event("behind", body=b"abc") + LACKING)
        assert gate.entered.wait(DEADLINE)
        port.emit = port.store

        other.sendall(event("other"))
        assert answer_on(other).status == 202
        assert ids(port) == ["other"]

        gate.open()
        assert statuses_on(connection, 3) == [202, 202, 400]
    assert ids(port) == ["other", "behind"]


def test_a_body_that_comes_while_its_request_is_in_line_is_put_together(port: DataPort) -> None:
    gate = Gate()
    port.emit = gate.emit
    request = event("behind", body=b"0123456789")
    with port.connect() as connection:
        connection.sendall(event("held") + request[:-7])
        assert gate.entered.wait(DEADLINE)
        port.emit = port.store

        connection.sendall(request[-7:-3])
        gate.open()
        assert answer_on(connection).status == 202
        connection.sendall(request[-3:])
        assert answer_on(connection).status == 202

    assert [each.data for each in port.stored] == [b"0123456789"]


def test_a_body_that_grew_too_large_in_line_is_refused_in_its_turn(port: DataPort) -> None:
    gate = Gate()
    port.emit = gate.emit
    chunked = event("large").replace(b"content-length: 0", b"transfer-encoding: chunked")
    with port.connect() as connection:
        connection.sendall(event("held") + chunked + b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n")
        assert gate.entered.wait(DEADLINE)
        port.emit = port.store
        gate.open()

        assert statuses_on(connection, 2) == [202, 413]


def test_thousands_of_requests_in_line_are_all_answered(port: DataPort) -> None:
    gate = Gate()
    port.emit = gate.emit
    with port.connect() as connection:
        connection.sendall(event("held"))
        assert gate.entered.wait(DEADLINE)
        port.emit = port.store
        sending = threading.Thread(target=connection.sendall, args=[LACKING * 3000 + event("last")])
        sending.start()
        gate.open()

        statuses = statuses_on(connection, 3002)
        sending.join(DEADLINE)

    assert statuses == [202, *[400] * 3000, 202]
    assert ids(port) == ["last"]


def test_a_client_that_reads_late_gets_every_answer(port: DataPort) -> None:
    request = event("1", "ce-dataschema: " + "<" * 200)  # which the answer repeats in part
    count = 8_000
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.settimeout(3 * DEADLINE)
    with client:
        client.connect(port.address)
        sending = threading.Thread(target=client.sendall, args=[request * count])
        sending.start()
        sending.join(0.5)  # long enough for the answers to fill what lies between
        statuses = statuses_on(client, count)
        sending.join(DEADLINE)

    assert statuses == [400] * count
    assert len(port.refused) == count


# --- the end -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "header"), [("1.0", "x: y"), ("1.0", "connection: keep-alive")]
)
def test_http_1_0_gets_one_answer(port: DataPort, version: str, header: str) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", header, version=version))
        received = rest_of(connection)

    assert received.startswith(b"HTTP/1.1 202 Accepted\r\n")
    assert received.endswith(b"\r\nconnection: close\r\n\r\n")
    assert ids(port) == ["1"]


def test_what_follows_a_last_request_is_not_taken(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", "connection: close") + event("2") + OPTIONS)
        received = rest_of(connection)

    assert received.count(b"HTTP/1.1") == 1
    assert b"\r\nconnection: close\r\n" in received
    assert ids(port) == ["1"]


def test_what_follows_a_last_request_that_is_refused_is_not_taken(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", "connection: close", type="") + event("2"))
        received = rest_of(connection)

    assert received.count(b"HTTP/1.1") == 1
    assert port.stored == []


def test_a_refusal_says_that_the_connection_ends_where_it_does(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", "connection: close", type=""))
        received = rest_of(connection)

    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert head.endswith(b"connection: close")
    assert body.startswith(b"{")


def test_a_connection_goes_on_behind_a_body_that_was_refused(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", body=b"x" * 5000)[:-4000])
        assert answer_on(connection).status == 413

        connection.sendall(b"x" * 4000 + event("2"))
        assert answer_on(connection).status == 202

    assert ids(port) == ["2"]


def test_a_refused_body_that_looks_like_a_request_is_none(port: DataPort) -> None:
    inner = event("inner")
    with port.connect() as connection:
        connection.sendall(event("1", body=b"x" * 5000)[:-5000])
        assert answer_on(connection).status == 413

        connection.sendall(inner + b"x" * (5000 - len(inner)) + event("2"))
        assert answer_on(connection).status == 202

    assert ids(port) == ["2"]


# --- 100-continue --------------------------------------------------------------------------


def test_a_client_that_asks_whether_to_go_on_is_told_to(port: DataPort) -> None:
    request = event("1", "expect: 100-continue", body=b"hello")
    with port.connect() as connection:
        connection.sendall(request[:-5])
        told = connection.recv(1000)
        connection.sendall(request[-5:])
        assert answer_on(connection).status == 202

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert port.stored[0].data == b"hello"


def test_a_client_that_asks_and_does_not_wait_is_told_all_the_same(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(event("1", "expect: 100-continue", body=b"hello"))
        with connection.makefile("rb") as answers:
            told = [answers.readline() for _ in range(3)]

    assert told == [b"HTTP/1.1 100 Continue\r\n", b"\r\n", b"HTTP/1.1 202 Accepted\r\n"]
    assert port.stored[0].data == b"hello"


# --- shapes that smuggle -------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked",
        b"content-length: 5\r\ncontent-length: 6",
        b"content-length: 5, 5",
        b"content-length: +5",
        b"transfer-encoding: chunked, identity",
        b"content-length : 5",
        b"x: y\r\n folded: z",
        b"x: y\ncontent-length: 5",
    ],
)
def test_a_request_whose_end_is_doubtful_is_refused_and_nothing_behind_it_taken(
    port: DataPort, head: bytes
) -> None:
    request = event("1").replace(b"content-length: 0", head)

    with port.connect() as connection:
        connection.sendall(request + b"0\r\n\r\n" + event("2"))
        received = rest_of(connection)

    assert received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") == 1
    assert port.stored == []


# --- a client that is gone -----------------------------------------------------------------


def test_bytes_of_a_client_that_left_count_until_its_event_is_stored(port: DataPort) -> None:
    gate = Gate()
    port.emit = gate.emit
    with port.connect() as connection:
        connection.sendall(event("1", body=b"x" * 1000))
        assert gate.entered.wait(DEADLINE)
    port.emit = port.store

    with port.connect() as connection:
        connection.sendall(event("2", body=b"x" * 1000))
        assert answer_on(connection).status == 202
    gate.open()

    deadline = time.monotonic() + DEADLINE
    while not two_fit_in(port):
        assert time.monotonic() < deadline, "the bytes of the lost connection still count"


def two_fit_in(port: DataPort) -> bool:
    """Return whether two of the largest bodies are taken at once, as nothing else is held."""
    request = event("a", body=b"x" * 1000)
    with port.connect() as one, port.connect() as other:
        for connection in (one, other):
            connection.sendall(request[:-1])
        for connection in (one, other):
            connection.sendall(request[-1:])
        return [answer_on(one).status, answer_on(other).status] == [202, 202]


def test_an_outage_is_noted_for_a_client_that_left_too(port: DataPort) -> None:
    gate = Gate()

    async def fails(events: Sequence[Event]) -> None:
        await gate.emit(events)
        raise ChannelUnavailable("the disk is full")

    port.emit = fails
    with port.connect() as connection:
        connection.sendall(event("1"))
        assert gate.entered.wait(DEADLINE)
    gate.open()

    deadline = time.monotonic() + DEADLINE
    while port.refused != [("default/orders", 503, "channel_unavailable")]:
        assert time.monotonic() < deadline, port.refused
        time.sleep(0.001)
