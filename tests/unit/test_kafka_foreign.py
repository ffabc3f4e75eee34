"""Records that are no CloudEvents, as what the dead-letter store can keep."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.channels.kafka.foreign import TYPE, event_of_record
from broker.codecs.kafka import Headers, decode, encode
from broker.event import Event


@dataclass
class Record:
    headers: Headers = ()
    key: bytes | None = None
    value: bytes | None = b"{ not json"
    timestamp: int = 1_767_225_600_123
    topic: str = "orders"
    partition: int = 3
    offset: int = 42
    attributes: dict[str, str] = field(
        init=False,
        default_factory=lambda: {
            "specversion": "1.0",
            "id": "3:42",
            "source": "kafka:orders/3",
            "type": TYPE,
        },
    )


def test_a_record_tells_where_it_is_and_has_its_value_as_data() -> None:
    record = Record(value=b"\x00 \xff")

    event = event_of_record(record)

    time = {"time": "2026-01-01T00:00:00.123Z"}
    assert event == Event({**record.attributes, **time}, b"\x00 \xff")


def test_no_value_is_no_data() -> None:
    assert event_of_record(Record(value=None)).data is None


def test_key_and_headers_become_attributes() -> None:
    headers = (("content-type", b"text/plain"), ("ce_id", b"7"), ("X-Trace Id", b"caf\xc3\xa9"))

    attributes = event_of_record(Record(headers=headers, key=b"customer 9")).attributes

    assert attributes["kafkakey"] == "customer 9"
    assert attributes["kafkaheaderceid"] == "7"
    assert attributes["kafkaheaderxtraceid"] == "café"
    assert attributes["kafkaheadercontenttype"] == "text/plain"
    assert attributes["datacontenttype"] == "text/plain"


@pytest.mark.parametrize("value", [None, b"\xff", b"line\nline", b"\xed\xa0\x80"])
def test_what_no_attribute_can_hold_is_left_out(value: bytes | None) -> None:
    record = Record(headers=[("x", value), ("content-type", value)], key=value, timestamp=-1)

    assert event_of_record(record).attributes == record.attributes


def test_of_two_headers_of_a_name_the_first_is_kept() -> None:
    headers = (("x-a", b"1"), ("X_A", b"2"))

    assert event_of_record(Record(headers=headers)).attributes["kafkaheaderxa"] == "1"


def test_a_content_type_that_is_none_is_kept_as_a_header() -> None:
    attributes = event_of_record(Record(headers=[("content-type", b"nonsense")])).attributes

    assert attributes["kafkaheadercontenttype"] == "nonsense"
    assert "datacontenttype" not in attributes


def test_a_name_that_is_not_utf8_leaves_what_an_attribute_can_have_of_it() -> None:
    name = b"X-Caf\xe9".decode(errors="surrogateescape")

    assert event_of_record(Record(headers=[(name, b"1")])).attributes["kafkaheaderxcaf"] == "1"


names = st.one_of(
    st.sampled_from(["content-type", "ce_id", "cemesh-notes", ""]),
    st.text(),
    st.binary().map(lambda name: name.decode(errors="surrogateescape")),
)
values = st.none() | st.binary() | st.text().map(lambda text: text.encode(errors="replace"))
contents = values | st.sampled_from([b"application/cloudevents+json", b"text/plain"])


@given(
    headers=st.lists(st.tuples(names, contents)),
    key=values,
    value=values,
    timestamp=st.integers(-(2**63), 2**63 - 1),
)
def test_whatever_a_record_is_it_can_be_stored_and_read_again(
    headers: Headers, key: bytes | None, value: bytes | None, timestamp: int
) -> None:
    event = event_of_record(Record(headers=headers, key=key, value=value, timestamp=timestamp))

    stored = encode(event)

    assert decode(stored.headers, stored.value)[0] == event
    assert Event.checked(event.attributes, event.data) == event
