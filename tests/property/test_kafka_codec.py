"""Every event comes out of Kafka as it went in, and no record does worse than to be refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

from hypothesis import example, given
from hypothesis import strategies as st

from broker.codecs.http import STRUCTURED_FROM
from broker.codecs.kafka import NO_NOTES, Headers, Notes, decode, encode, may_have_id
from broker.errors import InvalidEvent
from broker.event import Event
from broker.ports import Refusal
from tests.property.test_codec_roundtrip import damaged, events, texts

refusals = st.builds(
    Refusal,
    destination=texts,
    reason=texts,
    status=st.none() | st.integers(100, 599),
    body=st.binary(max_size=1024),
    attempts=st.integers(0, 1000),
)
notes = st.builds(
    Notes,
    to=st.none() | texts,
    attempts=st.integers(0, 1000),
    condemned=st.none() | refusals,
    due=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@st.composite
def kept_events(draw: st.DrawFn) -> Event:
    """Events as a channel keeps them: keyed or not, after replies, too large for headers."""
    event = draw(events())
    extra = {}
    if draw(st.booleans()):
        extra["partitionkey"] = draw(texts)
    if draw(st.integers(0, 3)) == 0:
        extra["padding"] = "€" * draw(st.integers(STRUCTURED_FROM // 3 - 300, STRUCTURED_FROM))
    return replace(event.with_attributes(extra, {}), hops=draw(st.integers(0, 255)))


@given(kept_events(), st.just(NO_NOTES) | notes)
def test_an_event_comes_out_of_kafka_as_it_went_in(event: Event, noted: Notes) -> None:
    record = encode(event, noted)

    assert decode(tuple(record.headers), record.value) == (event, noted)


@given(kept_events(), st.data())
def test_the_order_of_headers_does_not_matter(event: Event, data: st.DataObject) -> None:
    record = encode(event)

    shuffled = data.draw(st.permutations(record.headers))

    assert decode(shuffled, record.value)[0] == event


@given(kept_events(), st.lists(st.tuples(texts, st.none() | st.binary(max_size=9)), max_size=4))
def test_headers_of_others_change_nothing(
    event: Event, others: list[tuple[str, bytes | None]]
) -> None:
    record = encode(event)
    foreign = [(f"x-{name}", value) for name, value in others]

    assert decode([*foreign, *record.headers, *foreign], record.value)[0] == event


header_names = st.sampled_from(
    b"content-type ce_ ce_id ce_source ce_type ce_specversion ce_time ce_data ce_note "
    b"ce_datacontenttype cemesh-data cemesh-kinds cemesh-hops cemesh-notes cemesh-x".split()
).map(bytes.decode)
header_values = st.sampled_from(
    b"application/cloudevents+json application/cloudevents-batch+json text/plain;charset=x 1.0 /x "
    b"absent 7 note=integer time=boolean note \xc0\xa0 {} "
    b'{"to":"a","due":"2026-07-01T12:00:00+24:00"} {"due":"0001-01-01T00:00:00+14:00"} '
    b'{"condemned":{"destination":"\xff"}}'.split()
)
any_headers = st.lists(
    st.tuples(
        header_names | st.text(max_size=9), st.none() | header_values | st.binary(max_size=30)
    ),
    max_size=8,
)
VALID = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/x"), ("ce_type", b"t")]


@given(any_headers | any_headers.map(VALID.__add__), st.none() | st.binary() | damaged())
@example([("content-type", b"application/cloudevents+json")], b"")
def test_no_record_does_worse_than_to_be_refused(headers: Headers, value: bytes | None) -> None:
    try:
        event, noted = decode(headers, value)
    except InvalidEvent:
        return
    record = encode(event, noted)
    assert decode(record.headers, record.value) == (event, noted)
    assert may_have_id(headers, event.id)


@given(kept_events(), st.text())
def test_a_look_at_the_headers_tells_apart_what_is_in_them(event: Event, id: str) -> None:
    headers = encode(event).headers

    looked_at = may_have_id(headers, id)

    assert may_have_id(headers, event.id)
    assert looked_at == (id == event.id or "ce_id" not in dict(headers))


def test_an_id_that_no_event_can_have_is_that_of_none() -> None:
    assert not may_have_id(VALID, "\udcff")
