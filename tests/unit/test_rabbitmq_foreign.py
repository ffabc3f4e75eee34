"""Messages that are no CloudEvents, as what the dead-letter store can keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

import aio_pika
import pytest
from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from broker.channels.rabbitmq.foreign import TYPE, event_of_message
from broker.codecs.amqp import decode, encode
from broker.event import Event
from tests.property.test_amqp_codec import any_headers

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
IDENTITY = {"specversion": "1.0", "source": "rabbitmq:b.shop.orders", "type": TYPE}


@dataclass(frozen=True)
class Foreign:
    body: bytes = b"{ not json"
    headers: Mapping[str, object] = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = "7"
    correlation_id: str | None = None
    reply_to: str | None = None
    timestamp: datetime | None = None
    type: str | None = None
    app_id: str | None = None
    exchange: str | None = None
    routing_key: str | None = None


def attributes_of(message: Foreign) -> Mapping[str, str]:
    return event_of_message(message, "b.shop.orders").attributes


def test_a_message_tells_where_it_was_and_has_its_body_as_data() -> None:
    event = event_of_message(Foreign(b"\x00 \xff"), "b.shop.orders")

    assert event == Event({**IDENTITY, "id": "7"}, b"\x00 \xff")


def test_no_body_is_no_data() -> None:
    assert event_of_message(Foreign(b""), "q").data is None


def test_the_name_of_the_queue_may_be_anything() -> None:
    assert event_of_message(Foreign(), "a b/é").source == "rabbitmq:a%20b%2F%C3%A9"


def test_properties_and_headers_become_attributes() -> None:
    message = Foreign(
        headers={"ce-id": "9", "X-Trace Id": "café", "retries": 3, "final": False, "at": NOON},
        content_type="text/plain",
        content_encoding="gzip",
        correlation_id="c",
        reply_to="r",
        timestamp=NOON,
        type="t",
        app_id="a",
        exchange="",
        routing_key="k",
    )

    assert attributes_of(message) == {
        **IDENTITY,
        "id": "7",
        "time": "2026-07-01T12:00:00Z",
        "datacontenttype": "text/plain",
        "rabbitmqcontenttype": "text/plain",
        "rabbitmqcontentencoding": "gzip",
        "rabbitmqcorrelationid": "c",
        "rabbitmqreplyto": "r",
        "rabbitmqtype": "t",
        "rabbitmqappid": "a",
        "rabbitmqexchange": "",
        "rabbitmqroutingkey": "k",
        "rabbitmqheaderceid": "9",
        "rabbitmqheaderxtraceid": "café",
        "rabbitmqheaderretries": "3",
        "rabbitmqheaderfinal": "false",
        "rabbitmqheaderat": "2026-07-01T12:00:00Z",
    }


@pytest.mark.parametrize("value", [None, b"\xff", "line\nline", "\ud800", [1], {"a": 1}, 1.5])
def test_what_no_attribute_can_hold_is_left_out(value: object) -> None:
    message = Foreign(headers={"x": value}, content_type="nonsense", app_id="line\nline")

    assert attributes_of(message) == {**IDENTITY, "id": "7", "rabbitmqcontenttype": "nonsense"}


def test_of_two_headers_of_a_name_the_first_is_kept() -> None:
    message = Foreign(headers={"my-id": "1", "MY_ID": "2"})

    assert attributes_of(message)["rabbitmqheadermyid"] == "1"


@pytest.mark.parametrize("message_id", [None, "", "line\nline"])
def test_a_message_without_an_id_has_the_same_whenever_it_is_delivered(
    message_id: str | None,
) -> None:
    message = Foreign(message_id=message_id, headers={"a": 1, "b": [2]})
    again = replace(message, headers={"x-delivery-count": 1, "b": [2], "a": 1})

    assert len(attributes_of(message)["id"]) == 32
    assert attributes_of(again)["id"] == attributes_of(message)["id"]


@pytest.mark.parametrize(
    "other",
    [
        Foreign(b"other", message_id=None),
        Foreign(message_id=None, headers={"a": 2}),
        Foreign(message_id=None, routing_key="k"),
        Foreign(message_id=None, content_type="text/plain"),
        Foreign(message_id=None, timestamp=NOON),
    ],
)
def test_messages_that_differ_have_other_ids(other: Foreign) -> None:
    assert attributes_of(other)["id"] != attributes_of(Foreign(message_id=None))["id"]


def test_messages_are_taken_as_aio_pika_hands_them_over() -> None:
    sent = aio_pika.Message(b"x", headers={"a": 1}, message_id="7", timestamp=NOON, app_id="a")
    received = IncomingMessage(
        DeliveredMessage(
            delivery=Basic.Deliver(exchange="e", routing_key="k"),
            header=ContentHeader(properties=sent.properties),
            body=b"x",
            channel=cast("Any", None),
        ),
        no_ack=True,
    )

    assert event_of_message(received, "b.shop.orders").attributes == {
        **IDENTITY, "id": "7", "time": "2026-07-01T12:00:00Z", "rabbitmqappid": "a",
        "rabbitmqheadera": "1", "rabbitmqexchange": "e", "rabbitmqroutingkey": "k",
    }  # fmt: skip


texts = st.none() | st.text()


@given(
    st.builds(
        Foreign,
        body=st.binary(),
        headers=any_headers,
        content_type=texts | st.sampled_from(["text/plain", "application/cloudevents+json"]),
        message_id=texts,
        timestamp=st.none() | st.datetimes(timezones=st.just(UTC)),
        type=texts,
    )
)
def test_whatever_a_message_is_it_can_be_stored_and_read_again(message: Foreign) -> None:
    event = event_of_message(message, "q")

    stored = encode(event)

    assert decode(stored.headers, stored.body, content_type=stored.content_type)[0] == event
    assert Event.checked(event.attributes, event.data) == event
