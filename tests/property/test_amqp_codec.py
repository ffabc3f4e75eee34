"""Every event comes out of RabbitMQ as it went in, and no message does worse than to be refused."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

import aio_pika
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.header import ContentHeader

from broker.codecs.amqp import STRUCTURED, Headers, decode, encode, matching, may_have_id
from broker.codecs.http import STRUCTURED_FROM
from broker.codecs.notes import NO_NOTES, Notes
from broker.errors import InvalidEvent
from broker.event import Event
from broker.filters import Filter, demands
from broker.filters.terms import Term
from tests.property.filters import events as attributes_to_filter
from tests.property.filters import filters
from tests.property.test_codec_roundtrip import damaged, texts
from tests.property.test_kafka_codec import kept_events, notes


def on_the_wire(headers: Mapping[str, Any], content_type: str | None) -> tuple[Headers, str | None]:
    """Return headers and content type as aio-pika's client gives them to whoever consumes them."""
    sent = aio_pika.Message(b"", headers=dict(headers), content_type=content_type)
    received = ContentHeader()
    received.unmarshal(ContentHeader(properties=sent.properties).marshal())
    return received.properties.headers or {}, received.properties.content_type


@given(kept_events(), st.just(NO_NOTES) | notes)
def test_an_event_comes_out_of_a_queue_as_it_went_in(event: Event, noted: Notes) -> None:
    message = encode(event, noted)
    headers, content_type = on_the_wire(message.headers, message.content_type)

    assert decode(headers, message.body, content_type=content_type) == (event, noted)


@given(kept_events(), st.data())
def test_the_order_of_headers_does_not_matter(event: Event, data: st.DataObject) -> None:
    message = encode(event)

    shuffled = dict(data.draw(st.permutations([*message.headers.items()])))

    assert decode(shuffled, message.body, content_type=message.content_type)[0] == event


values: st.SearchStrategy[object] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.decimals(places=2, min_value=-9, max_value=9)
    | st.datetimes(timezones=st.just(UTC))
    | st.text()
    | st.binary()
    | st.binary().map(bytearray),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


@given(kept_events(), st.dictionaries(texts, values, max_size=4))
def test_headers_of_others_change_nothing(event: Event, others: dict[str, object]) -> None:
    message = encode(event)
    foreign = {f"x-{name}": value for name, value in others.items()}

    read, _ = decode(
        {**foreign, **message.headers}, message.body, content_type=message.content_type
    )

    assert read == event


header_names = st.sampled_from(
    [
        *("content-type", "specversion", "id", "note", "ce-", "ce-id", "ce-source", "ce-type"),
        *("ce-specversion", "ce-time", "ce-data", "ce-note", "ce-datacontenttype"),
        *("cloudEvents:note", "cloudEvents_id", "cloudEvents:", "cemesh-data", "cemesh-kinds"),
        *("cemesh-hops", "cemesh-notes", "cemesh-x"),
    ]
)
header_values = st.sampled_from(
    [
        *("application/cloudevents+json", "application/cloudevents-batch+json", "1.0", "/x", "7"),
        *("text/plain;charset=x", "empty", "note=integer", "time=boolean", "note", "\ud800", "{}"),
        *('{"to":"a","due":"2026-07-01T12:00:00+24:00"}', '{"due":"0001-01-01T00:00:00+14:00"}'),
        '{"condemned":{"destination":"\ud800"}}',
    ]
)
any_headers = st.dictionaries(
    header_names | st.text(max_size=9), header_values | values, max_size=8
)
VALID = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/x", "ce-type": "t"}
UNPREFIXED = {"specversion": "1.0", "id": "1", "source": "/x", "type": "t"}
content_types = st.none() | header_values | st.text(max_size=9)


@given(
    any_headers | any_headers.map(VALID.__or__) | any_headers.map(UNPREFIXED.__or__),
    st.binary() | damaged(),
    content_types,
)
@example({}, b"", "application/cloudevents+json")
def test_no_message_does_worse_than_to_be_refused(
    headers: dict[str, object], body: bytes, content_type: str | None
) -> None:
    try:
        event, noted = decode(headers, body, content_type=content_type)
    except InvalidEvent:
        return
    message = encode(event, noted)
    assert decode(message.headers, message.body, content_type=message.content_type) == (
        event, noted,
    )  # fmt: skip
    assert may_have_id(headers, event.id, content_type=content_type)


@given(kept_events(), st.text())
def test_a_look_at_the_headers_tells_apart_what_is_in_them(event: Event, id: str) -> None:
    message = encode(event)

    looked_at = may_have_id(message.headers, id, content_type=message.content_type)

    assert may_have_id(message.headers, event.id, content_type=message.content_type)
    assert looked_at == (id == event.id or "ce-id" not in message.headers)


# --- routing -----------------------------------------------------------------------------------


def routed(headers: Headers, arguments: Mapping[str, str | None]) -> bool:
    """Return whether a headers exchange routes by a binding with ``x-match: all``."""
    return all(
        name in headers and value in (None, headers[name]) for name, value in arguments.items()
    )


@given(attributes_to_filter, st.booleans(), filters)
def test_no_event_that_passes_a_filter_is_missed_by_what_is_looked_up_for_it(
    attributes: dict[str, str], large: bool, filter: Filter
) -> None:
    padding = {"padding": "x" * STRUCTURED_FROM} if large else {}
    event = Event({**UNPREFIXED, **attributes, **padding})
    headers = encode(event).headers

    found = routed(headers, matching(demands(filter)))

    assert routed(headers, STRUCTURED) == large
    assert found or large or not filter.matches(event.attributes)


@given(kept_events(), st.data())
def test_a_value_is_looked_up_as_a_filter_compares_it(event: Event, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(event.attributes)))
    value = data.draw(st.just(event.attributes[name]) | texts)
    headers = encode(event).headers

    found = routed(headers, matching([Term("exact", name, value)]))

    assert routed(headers, STRUCTURED) or found == (event.attributes[name] == value)
