"""The table "Ingress" of Knative's semantics, row by row, over real sockets."""

from __future__ import annotations

import json
import logging
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from broker.errors import ChannelFull, ChannelUnavailable, InvalidEvent, UnknownBroker
from broker.event import Event
from broker.ingress import Door
from broker.ports import Origin
from broker.trigger import Access
from tests.conformance.dataport import DataPort, Gate, answer_on

EVENT = [
    ("ce-specversion", "1.0"),
    ("ce-id", "1"),
    ("ce-source", "/shop"),
    ("ce-type", "order"),
]
STRUCTURED = [("content-type", "application/cloudevents+json")]
BATCH = [("content-type", "application/cloudevents-batch+json")]


def document(**more: object) -> dict[str, object]:
    return {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", **more}


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.fixture(scope="module")
def open_port(way: str) -> Iterator[DataPort]:
    with DataPort({"default/orders": None}, way=way).running() as port:
        yield port


@pytest.fixture
def port(open_port: DataPort) -> DataPort:
    open_port.reset()
    return open_port


# --- stored --------------------------------------------------------------------------------


def test_a_stored_event_is_answered_with_202_and_no_body(port: DataPort) -> None:
    answer = port.request([*EVENT, ("content-type", "text/plain")], b"hello")

    assert (answer.status, answer.body) == (202, b"")
    assert port.stored == [
        Event(
            {
                "specversion": "1.0",
                "id": "1",
                "source": "/shop",
                "type": "order",
                "datacontenttype": "text/plain",
            },
            b"hello",
        )
    ]
    assert port.refused == []


def test_202_is_not_sent_before_the_event_is_durable(port: DataPort) -> None:
    gate = Gate()
    port.emit = gate.emit
    with port.connect() as connection:
        connection.sendall(raw(EVENT))
        assert gate.entered.wait(10)

        connection.settimeout(0.05)
        with pytest.raises(TimeoutError):
            connection.recv(1)

        connection.settimeout(10)
        gate.open()
        assert answer_on(connection).status == 202


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("plain", "plain"),
        ("Euro%20%E2%82%AC", "Euro €"),
        ("100%", "100%"),
        ("two words", "two words"),
        ('"quoted \\"text\\""', 'quoted "text"'),
        (" \tpadded \t", "padded"),
    ],
)
def test_a_value_is_decoded(port: DataPort, value: str, meant: str) -> None:
    answers = [port.request([*EVENT, ("Ce-Subject", value), ("ce-note", value)]) for _ in range(2)]

    assert [answer.status for answer in answers] == [202, 202]
    for event in port.stored:
        assert (event.attributes["subject"], event.attributes["note"]) == (meant, meant)


def test_structured_events_are_taken(port: DataPort) -> None:
    answer = port.request(STRUCTURED, as_json(document(data=[1])))

    assert answer.status == 202
    assert port.stored[0].data == b"[1]"


def test_a_batch_is_taken_as_one(port: DataPort) -> None:
    calls: list[Sequence[Event]] = []

    async def emit(events: Sequence[Event]) -> None:
        calls.append(events)

    port.emit = emit
    answer = port.request(BATCH, as_json([document(id="1"), document(id="2")]))

    assert answer.status == 202
    assert [[event.id for event in events] for events in calls] == [["1", "2"]]


def test_an_empty_batch_is_taken_and_asks_nothing_of_the_channel(port: DataPort) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise ChannelUnavailable("down")

    port.emit = emit

    assert port.request(BATCH, b"[]").status == 202


def test_a_chunked_body_is_put_together(port: DataPort) -> None:
    answer = port.exchange(raw_chunked([*EVENT], [b"he", b"llo"]))

    assert answer.status == 202
    assert port.stored[0].data == b"hello"


def test_a_payload_is_kept_where_the_client_offers_another_protocol(port: DataPort) -> None:
    """Java's own client and ``curl --http2`` do so with every request in the clear."""
    offer = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "")]

    assert port.request([*EVENT, *offer], b"hello").status == 202
    assert port.stored[0].data == b"hello"


def test_a_payload_in_many_small_pieces_is_put_together(port: DataPort) -> None:
    request = raw(EVENT, b"0123456789")
    with port.connect() as connection:
        for byte in request:
            connection.sendall(bytes([byte]))
        assert answer_on(connection).status == 202
    assert port.stored[0].data == b"0123456789"


def test_an_event_of_64_kib_in_its_headers_is_taken(port: DataPort) -> None:
    answer = port.request([*EVENT, ("ce-note", "x" * 65_000)])

    assert answer.status == 202
    assert port.stored[0].attributes["note"] == "x" * 65_000


def test_many_requests_are_taken_on_one_connection(port: DataPort) -> None:
    with port.connect() as connection:
        for _ in range(3):
            connection.sendall(raw(EVENT))
            assert answer_on(connection).status == 202
    assert len(port.stored) == 3


def test_a_query_does_not_matter(port: DataPort) -> None:
    assert port.request(EVENT, path="/default/orders?from=curl").status == 202


# --- OPTIONS, other methods, other paths ---------------------------------------------------


def test_options_gives_the_consent_of_the_webhook_specification(port: DataPort) -> None:
    answer = port.request([("webhook-request-origin", "eventemitter.example")], method="OPTIONS")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert answer.headers["webhook-allowed-origin"] == "*"
    assert answer.headers["webhook-allowed-rate"] == "*"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_refused_with_the_methods_allowed(port: DataPort, method: str) -> None:
    answer = port.request(EVENT, method=method)

    assert answer.status == 405
    assert answer.headers["allow"] == "POST, OPTIONS"
    assert port.stored == []
    assert port.refused == [("default/orders", 405, "method_not_allowed")]


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD", "OPTIONS", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/default",
        "/default/",
        "/default/nobody",
        "/default/orders/",
        "/default/orders/x",
        "//default/orders",
        "/default//orders",
        "/Default/orders",
        "/default/%FF",
    ],
)
def test_there_is_nothing_at_any_other_path(port: DataPort, method: str, path: str) -> None:
    answer = port.request(EVENT, method=method, path=path)

    assert answer.status == 404
    assert method == "HEAD" or answer.problem["title"] == "Not Found"
    assert port.stored == []
    unknown = "unknown_source" if path == "/default/orders/x" else "unknown_broker"
    assert port.refused == [(None, 404, unknown)]


def test_the_path_may_be_absolute(port: DataPort) -> None:
    assert port.request(EVENT, path="http://test/default/orders").status == 202
    assert port.request(EVENT, path="http://test/default/nobody").status == 404


def test_options_on_the_whole_server_finds_nothing(port: DataPort) -> None:
    assert port.request([], method="OPTIONS", path="*").status in {400, 404}


# --- invalid -------------------------------------------------------------------------------


def test_an_invalid_event_is_refused_with_a_problem_that_names_the_attribute(
    port: DataPort,
) -> None:
    answer = port.request(EVENT[1:])

    assert answer.status == 400
    assert answer.problem == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "the required attribute 'specversion' is missing",
        "attribute": "specversion",
    }
    assert port.stored == []
    assert port.refused == [("default/orders", 400, "invalid_event")]


def test_a_batch_with_one_invalid_event_is_refused_whole_with_its_index(port: DataPort) -> None:
    answer = port.request(BATCH, as_json([document(), document(), document(time="noon")]))

    assert answer.status == 400
    assert answer.problem["attribute"] == "time"
    assert answer.problem["index"] == 2
    assert port.stored == []


def test_a_header_that_occurs_twice_is_refused(port: DataPort) -> None:
    answer = port.request([*EVENT, ("Ce-Id", "2")])

    assert answer.status == 400
    assert answer.problem["attribute"] == "id"


def test_an_event_that_the_channel_finds_invalid_is_refused(port: DataPort) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise InvalidEvent("not this one", attribute="id", index=0)

    port.emit = emit
    answer = port.request(EVENT)

    assert answer.status == 400
    assert answer.problem["detail"] == "not this one"


def test_a_long_value_is_not_sent_back_whole(port: DataPort) -> None:
    answer = port.request(STRUCTURED, as_json(document(source="\\" * 100_000)))

    assert answer.status == 400
    assert len(answer.body) < 1_000


@pytest.mark.parametrize(
    "headers",
    [
        [("content-type", "application/cloudevents+avro")],
        [("content-type", "application/cloudevents+protobuf")],
        [("content-type", "application/cloudevents")],
        [("content-type", "application/cloudevents-batch+avro")],
        [("content-type", "application/cloudevents+json; charset=utf-16")],
        [*STRUCTURED, ("content-encoding", "gzip")],
        [*EVENT, ("content-encoding", "gzip")],
    ],
)
def test_what_the_mesh_does_not_read_is_415(
    port: DataPort, headers: Sequence[tuple[str, str]]
) -> None:
    answer = port.request(headers, as_json(document()))

    assert answer.status == 415
    assert answer.problem["title"] == "Unsupported Media Type"
    assert port.stored == []
    assert port.refused == [("default/orders", 415, "unsupported_content")]


# --- too large -----------------------------------------------------------------------------


@pytest.fixture
def small_port(way: str) -> Iterator[DataPort]:
    limits = {"max_event_bytes": 100, "max_pending_bytes": 150}
    with DataPort({"default/orders": None}, way=way, **limits).running() as port:
        yield port


def test_the_largest_body_is_taken_and_one_byte_more_is_not(small_port: DataPort) -> None:
    assert small_port.request(EVENT, b"x" * 100).status == 202

    answer = small_port.request(EVENT, b"x" * 101)

    assert answer.status == 413
    assert answer.problem["detail"] == "the body is larger than the 100 bytes allowed"
    assert len(small_port.stored) == 1
    assert small_port.refused == [("default/orders", 413, "too_large")]


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(
    small_port: DataPort,
) -> None:
    with small_port.connect() as connection:
        connection.sendall(raw([*EVENT, ("expect", "100-continue")], announced=101))
        assert answer_on(connection).status == 413


def test_a_chunked_body_is_refused_once_it_is_too_large(small_port: DataPort) -> None:
    with small_port.connect() as connection:
        connection.sendall(raw_chunked(EVENT, [b"x" * 60, b"x" * 60])[: -len(b"0\r\n\r\n")])
        assert answer_on(connection).status == 413  # without the end of the body
    assert small_port.stored == []


def test_the_default_limit_is_met_by_a_body_in_many_reads(port: DataPort) -> None:
    assert port.request(EVENT, b"x" * (1 << 20)).status == 202
    assert port.request(EVENT, b"x" * ((1 << 20) + 1)).status == 413


# --- access --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guarded_port(way: str) -> Iterator[DataPort]:
    brokers = {
        "default/orders": Access(bearer={"shop": "s3cret", "till": "t1ll"}),
        "default/bills": Access(basic={"clerk": b64encode(b"clerk:p4ss").decode()}),
        "default/both": Access(bearer={"a": "b"}, basic={"c": "d"}),
        "default/nobody": Access(),
    }
    with DataPort(brokers, way=way).running() as port:
        yield port


@pytest.fixture
def guarded(guarded_port: DataPort) -> DataPort:
    guarded_port.reset()
    return guarded_port


def basic(text: str) -> str:
    return "Basic " + b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("path", "credential", "who"),
    [
        ("/default/orders", "Bearer s3cret", "shop at 127.0.0.1"),
        ("/default/orders", "bearer t1ll", "till at 127.0.0.1"),
        ("/default/bills", basic("clerk:p4ss"), "clerk at 127.0.0.1"),
    ],
)
def test_a_known_client_may_send_and_is_told_to_those_who_watch(
    guarded: DataPort, path: str, credential: str, who: str
) -> None:
    answer = guarded.request([*EVENT, ("authorization", credential)], path=path)

    assert answer.status == 202
    told = [(path[1:], event, Origin("request", who)) for event in guarded.stored]
    assert guarded.watch.stored == told
    assert None not in guarded.watch.seconds
    assert len(told) == 1


def test_one_whom_nobody_asks_is_told_by_the_address(port: DataPort) -> None:
    assert port.request(EVENT).status == 202

    (told,) = port.watch.stored
    assert told[2] == Origin("request", "127.0.0.1")


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer wrong", "s3cret", "Basic s3cret", "Bearer s3cret s3cret", "Bearer é"],
)
def test_bad_credentials_are_401_and_ask_for_better(guarded: DataPort, credential: str) -> None:
    answer = guarded.request([*EVENT, ("authorization", credential)])

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="default/orders"'
    assert guarded.stored == []
    assert guarded.refused == [("default/orders", 401, "unauthenticated")]


def test_no_credentials_are_401(guarded: DataPort) -> None:
    answer = guarded.request(EVENT, path="/default/both")

    assert answer.status == 401
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="default/both", Basic realm="default/both"'
    )


def test_two_authorization_headers_are_401(guarded: DataPort) -> None:
    twice = [("authorization", "Bearer s3cret"), ("authorization", "Bearer s3cret")]

    assert guarded.request([*EVENT, *twice]).status == 401


def test_a_client_of_another_broker_is_403(guarded: DataPort) -> None:
    answer = guarded.request([*EVENT, ("authorization", basic("clerk:p4ss"))])

    assert answer.status == 403
    assert answer.problem["detail"] == "this client may not send to the broker default/orders"
    assert guarded.stored == []
    assert guarded.refused == [("default/orders", 403, "forbidden")]


def test_a_broker_with_no_clients_takes_nothing(guarded: DataPort) -> None:
    known = [("authorization", "Bearer s3cret")]

    assert guarded.request([*EVENT, *known], path="/default/nobody").status == 403
    assert guarded.request(EVENT, path="/default/nobody").status == 401


def test_access_is_judged_before_the_body_is_read(guarded: DataPort) -> None:
    with guarded.connect() as connection:
        connection.sendall(raw([("expect", "100-continue")], announced=1 << 40))
        assert answer_on(connection).status == 401  # and no 100 Continue before it


def test_consent_is_given_without_credentials(guarded: DataPort) -> None:
    assert guarded.request([], method="OPTIONS").status == 200


def test_credentials_do_not_matter_to_an_open_broker(port: DataPort) -> None:
    assert port.request([*EVENT, ("authorization", "Bearer whatever")]).status == 202


# --- overload and outage -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "told"),
    [
        (timedelta(0), "1"),
        (timedelta(milliseconds=1), "1"),
        (timedelta(seconds=2.1), "3"),
        (timedelta(minutes=1), "60"),
    ],
)
def test_a_full_channel_is_429_with_a_time_to_wait(
    port: DataPort, delay: timedelta, told: str
) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise ChannelFull("too much is waiting", retry_after=delay)

    port.emit = emit
    answer = port.request(EVENT)

    assert answer.status == 429
    assert answer.headers["retry-after"] == told
    assert answer.problem["detail"] == "too much is waiting"
    assert port.refused == [("default/orders", 429, "channel_full")]


def test_a_channel_that_is_unavailable_is_503_with_a_time_to_wait(port: DataPort) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise ChannelUnavailable("the disk is full", retry_after=timedelta(seconds=5))

    port.emit = emit
    answer = port.request(EVENT)

    assert answer.status == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.problem["detail"] == "the disk is full"
    assert port.refused == [("default/orders", 503, "channel_unavailable")]


def test_a_broker_that_is_gone_when_it_should_store_is_404(port: DataPort) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise UnknownBroker("default/orders is gone")

    port.emit = emit

    assert port.request(EVENT).status == 404
    assert port.refused == [("default/orders", 404, "unknown_broker")]


def test_more_bodies_than_may_be_held_are_429_until_the_others_are_stored(
    small_port: DataPort,
) -> None:
    gate = Gate()
    small_port.emit = gate.emit
    with small_port.connect() as first:
        first.sendall(raw(EVENT, b"x" * 100))
        assert gate.entered.wait(10)

        answer = small_port.request(EVENT, b"x" * 51)
        chunked = small_port.exchange(raw_chunked(EVENT, [b"x" * 30, b"x" * 30]))
        gate.open()
        assert answer_on(first).status == 202

    assert answer.status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert chunked.status == 429
    # All that was refused or stored has been given up again.
    assert small_port.request(EVENT, b"x" * 100).status == 202


def test_a_body_that_was_only_announced_takes_no_place(small_port: DataPort) -> None:
    with small_port.connect() as idle, small_port.connect() as idler:
        idle.sendall(raw(EVENT, announced=100))
        idler.sendall(raw(EVENT, announced=100))

        assert small_port.request(EVENT, b"x" * 100).status == 202


def test_limits_that_exclude_the_largest_event_are_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="max_pending_bytes is 5"):
        Door(
            lambda key: None,
            clients=list,
            max_event_bytes=10,
            max_pending_bytes=5,
        )


# --- consent by callback -------------------------------------------------------------------


class Waiting:
    """Somebody who waits for consent, and takes any rate but 0."""

    def __init__(self) -> None:
        self.rates: list[bytes | None] = []

    def take(self, allowed_rate: bytes | None) -> str | None:
        self.rates.append(allowed_rate)
        return "that is no rate" if allowed_rate == b"0" else None


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_consent_is_given_by_calling_back(port: DataPort, method: str) -> None:
    waiting = Waiting()
    path = port.callbacks.expect(waiting)

    plain = port.request([], method=method, path=path)
    with_rate = port.request([("WebHook-Allowed-Rate", "120")], method=method, path=path)

    assert (plain.status, with_rate.status) == (200, 200)
    assert waiting.rates == [None, b"120"]
    assert port.stored == []


def test_consent_with_a_rate_that_is_none_is_400(port: DataPort) -> None:
    waiting = Waiting()

    answer = port.request(
        [("WebHook-Allowed-Rate", "0")], method="GET", path=port.callbacks.expect(waiting)
    )

    assert answer.status == 400
    assert answer.problem["detail"] == "that is no rate"


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT"])
def test_nothing_else_than_get_and_post_gives_consent(port: DataPort, method: str) -> None:
    waiting = Waiting()

    answer = port.request([], method=method, path=port.callbacks.expect(waiting))

    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert waiting.rates == []


def test_consent_that_nobody_waits_for_is_404(port: DataPort) -> None:
    waiting = Waiting()
    path = port.callbacks.expect(waiting)

    answers = [
        port.request([], method="GET", path=each) for each in (path[:-1], f"{path}/", f"{path}x")
    ]

    assert [each.status for each in answers] == [404] * 3
    assert waiting.rates == []


# --- a client that goes away ---------------------------------------------------------------


def test_a_client_that_disconnects_within_the_body_stores_nothing(small_port: DataPort) -> None:
    with small_port.connect() as connection:
        connection.sendall(raw(EVENT, b"x" * 90, announced=100))

    # Its 90 bytes are given up once the server has seen it go: then there is room again.
    def full() -> bool:
        return small_port.request(EVENT, b"y" * 100).status == 429

    for _ in range(1000):
        if not full():
            break
    else:
        pytest.fail("the bytes of the lost connection still count")
    assert [event.data for event in small_port.stored] == [b"y" * 100]


def test_what_is_cut_off_within_a_chunk_stores_nothing(port: DataPort) -> None:
    with port.connect() as connection:
        connection.sendall(raw_chunked(EVENT, [b"hello"])[: -len(b"\r\n0\r\n\r\n")])
    assert port.request(EVENT, b"after").status == 202
    assert [event.data for event in port.stored] == [b"after"]


# --- the unexpected ------------------------------------------------------------------------


def test_a_bug_is_logged_with_its_traceback_and_told_to_nobody(
    port: DataPort, caplog: pytest.LogCaptureFixture
) -> None:
    async def emit(events: Sequence[Event]) -> None:
        raise RuntimeError("the password is hunter2")

    port.emit = emit
    with caplog.at_level(logging.ERROR, logger="cemesh.ingress"):
        answer = port.request(EVENT)

    assert answer.status == 500
    assert answer.problem == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
    }
    [record] = [record for record in caplog.records if record.name == "cemesh.ingress"]
    assert record.exc_info is not None
    assert record.exc_info[0] is RuntimeError
    assert port.refused == [("default/orders", 500, "fault")]


# --- hops ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "hops"), [("255", 0), ("254", 1), ("1", 254), ("300", 0), ("+10", 245)]
)
def test_the_hops_that_are_left_are_taken_off_the_event(
    port: DataPort, left: str, hops: int
) -> None:
    assert port.request([*EVENT, ("ce-knativebrokerttl", left)]).status == 202

    assert port.stored[0].hops == hops
    assert "knativebrokerttl" not in port.stored[0].attributes


def test_hops_are_read_from_a_structured_integer(port: DataPort) -> None:
    body = as_json(document(knativebrokerttl=200, other=1))
    assert port.request(STRUCTURED, body).status == 202

    assert port.stored[0].hops == 55
    assert port.stored[0].kinds == {"other": "integer"}


@pytest.mark.parametrize("left", ["0", "-1"])
def test_an_event_with_no_hops_left_is_refused(port: DataPort, left: str) -> None:
    answer = port.request([*EVENT, ("ce-knativebrokerttl", left)])

    assert answer.status == 400
    assert answer.problem["attribute"] == "knativebrokerttl"
    assert "as often as the mesh allows" in answer.problem["detail"]
    assert port.stored == []
    assert port.refused == [("default/orders", 400, "hops_exhausted")]


@pytest.mark.parametrize("left", ["", "many", "1.5", "٣", "9" * 5000])
def test_hops_that_are_no_integer_are_refused(port: DataPort, left: str) -> None:
    answer = port.request([*EVENT, ("ce-knativebrokerttl", left)])

    assert answer.status == 400
    assert answer.problem["attribute"] == "knativebrokerttl"


def test_a_batch_tells_which_event_has_no_hops_left(port: DataPort) -> None:
    body = as_json([document(), document(knativebrokerttl=0)])
    answer = port.request(BATCH, body)

    assert answer.status == 400
    assert answer.problem["index"] == 1
    assert port.stored == []


# --- raw requests --------------------------------------------------------------------------


def raw(
    headers: Sequence[tuple[str, str]], body: bytes = b"", *, announced: int | None = None
) -> bytes:
    length = len(body) if announced is None else announced
    return head([*headers, ("content-length", str(length))]) + body


def raw_chunked(headers: Sequence[tuple[str, str]], chunks: Sequence[bytes]) -> bytes:
    pieces = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return head([*headers, ("transfer-encoding", "chunked")]) + b"".join(pieces) + b"0\r\n\r\n"


def head(headers: Sequence[tuple[str, str]]) -> bytes:
    lines = ["POST /default/orders HTTP/1.1", "host: test"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers), "", ""]).encode()
