"""The span that an event comes from, beside it in records of Kafka and messages of RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from broker.codecs import amqp, kafka
from broker.event import Event

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ATTRIBUTE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EVENT = Event(
    {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order", "traceparent": ATTRIBUTE},
    b"{}",
)

Headers = Mapping[str, object]


def by_kafka(event: Event, *, structured: bool, told: Headers) -> tuple[Event, Headers]:
    record = kafka.encode(event, structured=structured)
    headers = dict(record.headers) | {name: _bytes(value) for name, value in told.items()}
    read, _ = kafka.decode(list(headers.items()), record.value)
    return read, {name: value.decode() for name, value in record.headers}


def by_amqp(event: Event, *, structured: bool, told: Headers) -> tuple[Event, Headers]:
    message = amqp.encode(event, structured=structured)
    headers = {**message.headers, **told}
    read, _ = amqp.decode(headers, message.body, content_type=message.content_type)
    return read, message.headers


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes | None) else str(value).encode()


WAYS = pytest.mark.parametrize("way", [by_kafka, by_amqp])
MODES = pytest.mark.parametrize("structured", [False, True])

Way = Callable[..., tuple[Event, Headers]]


@WAYS
@MODES
@pytest.mark.parametrize("trace", [PARENT, f"{PARENT} vendor=a,other=b"])
def test_the_span_is_in_the_headers_that_everybody_reads(
    way: Way, structured: bool, trace: str
) -> None:
    event = replace(EVENT, trace=trace)

    read, headers = way(event, structured=structured, told={})

    assert read == event
    assert headers["traceparent"] == PARENT
    assert headers.get("tracestate") == (trace.partition(" ")[2] or None)


@WAYS
@MODES
def test_an_event_of_no_known_span_has_no_header_for_it(way: Way, structured: bool) -> None:
    read, headers = way(EVENT, structured=structured, told={})

    assert read == EVENT
    assert not {"traceparent", "tracestate"} & headers.keys()


@WAYS
@MODES
@pytest.mark.parametrize("told", ["00-1", b"\xff", 5, "", None])
def test_what_somebody_has_written_there_that_is_none_is_passed_over(
    way: Way, structured: bool, told: object
) -> None:
    read, _ = way(EVENT, structured=structured, told={"traceparent": told, "tracestate": told})

    assert read == EVENT


@WAYS
def test_a_state_that_is_wrong_is_left_out(way: Way) -> None:
    told = {"traceparent": PARENT, "tracestate": b"\xff"}

    read, _ = way(EVENT, structured=False, told=told)

    assert read.trace == PARENT
    assert read.attributes == EVENT.attributes
