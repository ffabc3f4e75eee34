"""Events as Kafka records: what they look like, what is read, what is refused and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from cloudevents.core.bindings import kafka as sdk_kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from broker.codecs.http import STRUCTURED_FROM
from broker.codecs.kafka import NO_NOTES, Headers, Notes, decode, encode
from broker.errors import InvalidEvent
from broker.event import Event, shown
from broker.ports import Refusal

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"}
CONTEXT = [(f"ce_{name}", value.encode()) for name, value in REQUIRED.items()]
STRUCTURED = ("content-type", b"application/cloudevents+json")
BODY = json.dumps(REQUIRED).encode()

NOTES = Notes(
    to="default/audit",
    attempts=3,
    condemned=Refusal(
        destination="http://audit/", reason="é", status=None, body=b"\x00\xff", attempts=11
    ),
    due=datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=UTC),
    accepted=datetime(2026, 7, 1, 11, 0, 0, 999, tzinfo=UTC),
)


def event_of(headers: Headers, value: bytes | None = b"") -> Event:
    event, notes = decode(headers, value)
    assert notes is NO_NOTES
    return event


def refusal(headers: Headers, value: bytes | None = b"") -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode(headers, value)
    return caught.value


def there_and_back(event: Event, notes: Notes = NO_NOTES) -> tuple[Event, Notes]:
    record = encode(event, notes)
    return decode(record.headers, record.value)


# --- what a record looks like ----------------------------------------------------------------


def test_a_record_is_binary_with_plain_utf8_in_its_headers() -> None:
    event = Event({**REQUIRED, "subject": 'é "%41"', "datacontenttype": "text/plain"}, b"\x00\xff")

    record = encode(event)

    assert record.headers == [
        *CONTEXT,
        ("ce_subject", 'é "%41"'.encode()),
        ("content-type", b"text/plain"),
    ]
    assert record.value == b"\x00\xff"
    assert record.key is None


def test_the_partition_key_is_the_key_and_stays_an_attribute() -> None:
    record = encode(Event({**REQUIRED, "partitionkey": "é"}, b"x"))

    assert record.key == "é".encode()
    assert ("ce_partitionkey", "é".encode()) in record.headers


@pytest.mark.parametrize("data", [None, b"", b"null", b"\x00"])
@pytest.mark.parametrize("content_type", [{}, {"datacontenttype": "application/cloudevents+json"}])
def test_no_data_is_told_from_empty_data(data: bytes | None, content_type: dict[str, str]) -> None:
    event = Event({**REQUIRED, **content_type}, data)

    assert there_and_back(event)[0].data == data


def test_a_record_without_data_is_no_tombstone() -> None:
    assert encode(Event({**REQUIRED, "partitionkey": "a"})).value == b""


def test_an_event_goes_structured_only_once_its_headers_pass_the_bound() -> None:
    def padded(by: int) -> Event:
        return Event({**REQUIRED, "note": "x" * by, "partitionkey": "a"}, b"{}")

    used = sum(len(name) + len(value) for name, value in encode(padded(0)).headers)
    fitting = encode(padded(STRUCTURED_FROM - used))
    passing = encode(padded(STRUCTURED_FROM - used + 1))

    assert fitting.value == b"{}"
    assert passing.headers == [STRUCTURED]
    assert passing.key == b"a"
    assert decode(passing.headers, passing.value)[0] == padded(STRUCTURED_FROM - used + 1)


def test_an_event_that_carries_an_event_is_not_taken_for_it() -> None:
    event = Event({**REQUIRED, "datacontenttype": "Application/CloudEvents+JSON"}, b'{"id": 2}')

    record = encode(event)

    assert record.headers == [STRUCTURED]
    assert event_of(record.headers, record.value) == event


@pytest.mark.parametrize("note", ["", "x" * STRUCTURED_FROM])
def test_what_is_known_beside_an_event_comes_back_in_either_mode(note: str) -> None:
    event = Event(
        {**REQUIRED, "flag": "true", "count": "-7", "text": "7", "note": note},
        b"{}",
        {"flag": "boolean", "count": "integer"},
        hops=3,
    )

    assert there_and_back(event, NOTES) == (event, NOTES)


def test_what_is_the_meshs_own_is_in_headers_that_no_attribute_can_have() -> None:
    event = Event({**REQUIRED, "flag": "true"}, None, {"flag": "boolean"}, hops=3)

    headers = encode(event, NOTES).headers

    own = dict(headers[len(CONTEXT) + 1 :])
    assert own.keys() == {"cemesh-data", "cemesh-kinds", "cemesh-hops", "cemesh-notes"}
    assert own["cemesh-hops"] == b"3"
    assert own["cemesh-kinds"] == b"flag=boolean"
    assert json.loads(own["cemesh-notes"])["to"] == "default/audit"


def test_aiokafka_takes_records_and_gives_them_back() -> None:
    record = encode(Event(REQUIRED), NOTES)
    batch = BatchBuilder(1 << 14, 0)

    batch.append(timestamp=1, key=record.key, value=record.value, headers=record.headers)
    read = next(MemoryRecords(bytes(batch._build())).next_batch())

    assert decode(tuple(read.headers), read.value) == (Event(REQUIRED), NOTES)


# --- the content mode ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json; charset=UTF-8",
        b'Application/CloudEvents+JSON ;charset="utf-8"',
    ],
)
def test_the_content_type_alone_makes_a_record_structured(content_type: bytes) -> None:
    beside = [("ce_id", b"2"), ("ce_id", b"3"), ("ce_type", None), ("ce_Source", b"\xff")]

    assert event_of([("content-type", content_type), *beside], BODY) == Event(REQUIRED)


@pytest.mark.parametrize("content_type", [[], [("content-type", b"application/json")]])
def test_any_other_content_type_makes_a_record_binary(
    content_type: list[tuple[str, bytes]],
) -> None:
    event = event_of([*CONTEXT, *content_type], b'{"id":"2"}')

    assert event.id == "1"
    assert event.data == b'{"id":"2"}'


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        (b"application/cloudevents-batch+json", "Kafka has no batched content mode"),
        (b"application/cloudevents+avro", "'application/cloudevents\\+avro' is not read"),
        (b"application/cloudevents", "'application/cloudevents' is not read"),
        (b"application/cloudevents\xff", "is not read"),
        (b"application/cloudevents+json; charset=utf-16", "charset 'utf-16' is not read"),
        (b"application/cloudevents+json; x=\xff", "'datacontenttype' is not UTF-8"),
    ],
)
def test_a_format_that_is_not_read_is_refused(content_type: bytes, detail: str) -> None:
    with pytest.raises(InvalidEvent, match=detail):
        decode([*CONTEXT, ("content-type", content_type)], BODY)


@pytest.mark.parametrize(
    ("value", "detail"), [(None, "has no value"), (b"", "JSON"), (b"{}", "'specversion'")]
)
def test_a_structured_record_needs_its_event(value: bytes | None, detail: str) -> None:
    assert detail in refusal([*CONTEXT, STRUCTURED], value).detail


# --- records of others -----------------------------------------------------------------------


def test_a_tombstone_is_an_event_without_data() -> None:
    assert event_of(CONTEXT, None).data is None
    assert event_of(CONTEXT, b"").data == b""


def test_headers_of_others_may_be_anything() -> None:
    headers = [
        *(("trace", b"\xff"), ("trace", None), ("", b"x"), ("ce", b"x"), ("cemesh-later", b"\xff")),
        # Kafka folds no case, so these are not of the binding.
        *(("CE_id", b"2"), ("Content-Type", b"application/cloudevents+json")),
    ]

    assert event_of([*headers, *CONTEXT], b"x") == Event(REQUIRED, b"x")


@pytest.mark.parametrize(
    "header",
    [
        *(("ce_id", b"1"), ("ce_data", b"x"), ("ce_Type", b"x"), ("ce_", b"x"), ("ce_my_x", b"x")),
        *(("ce_note", b"\xff"), ("ce_note", None), ("ce_note", b"a\nb"), ("ce_time", b"noon")),
        ("ce_" + "x" * 10_000, b"\xff"),
    ],
)
def test_a_header_that_can_be_no_attribute_is_refused_by_name(
    header: tuple[str, bytes | None],
) -> None:
    error = refusal([*CONTEXT, header])

    assert error.attribute == shown(header[0].removeprefix("ce_"))
    assert len(error.detail) < 300


@pytest.mark.parametrize("name", [b"caf\xe9", b"ce_\xff", b"cemesh-\xff", b"\xed\xa0\x80"])
def test_a_header_whose_name_is_not_utf8_is_refused_with_a_text_that_is(name: bytes) -> None:
    header = (name.decode(errors="surrogateescape"), b"x")

    error = refusal([*CONTEXT, header])

    told = name.decode(errors="backslashreplace")
    assert error.detail == f"the name of the header '{told}' is not UTF-8"
    assert refusal([STRUCTURED, header], BODY).detail == error.detail
    assert str(error).isprintable()


def test_a_name_in_any_script_is_no_reason_to_refuse_a_record() -> None:
    assert event_of([*CONTEXT, ("é \\xff", b"x")]) == Event(REQUIRED, b"")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_attribute_is_needed(name: str) -> None:
    assert refusal([each for each in CONTEXT if each[0] != f"ce_{name}"]).attribute == name


def test_a_record_that_is_no_event_is_told_so() -> None:
    detail = refusal([("content-type", b"application/json"), ("key", b"x")], b"{}").detail

    assert detail.startswith("the record is no CloudEvent: it has no header that begins with 'ce_'")


def test_values_are_taken_as_they_are() -> None:
    event = event_of([*CONTEXT, ("ce_note", b' "a%20b" ')])

    assert event.attributes["note"] == ' "a%20b" '


@pytest.mark.parametrize(
    "content_types",
    [
        [("content-type", b"text/plain")],
        [("ce_datacontenttype", b"text/plain")],
        [("ce_datacontenttype", b"text/plain"), ("content-type", b"text/plain")],
    ],
)
def test_the_content_type_of_the_data_may_be_in_either_header(
    content_types: list[tuple[str, bytes]],
) -> None:
    event = event_of([*CONTEXT, *content_types])

    assert event.attributes == {**REQUIRED, "datacontenttype": "text/plain"}


@pytest.mark.parametrize(
    "content_types",
    [
        [("ce_datacontenttype", b"text/html"), ("content-type", b"text/plain")],
        [("content-type", b"text/plain"), ("content-type", b"text/plain")],
        [("content-type", None)],
        [("content-type", b"\xff")],
        [("content-type", b"text")],
    ],
)
def test_a_content_type_that_is_not_clear_is_refused(
    content_types: list[tuple[str, bytes | None]],
) -> None:
    assert refusal([*CONTEXT, *content_types]).attribute == "datacontenttype"


# --- our own headers, written by somebody else -------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        *(("cemesh-hops", b"-1"), ("cemesh-hops", b""), ("cemesh-hops", "٣".encode())),
        *(("cemesh-hops", b"9" * 10), ("cemesh-hops", b"\xff"), ("cemesh-hops", None)),
        *(("cemesh-data", b""), ("cemesh-data", b"\xff"), ("cemesh-data", None)),
        *(("cemesh-kinds", b"note"), ("cemesh-kinds", b"note=string"), ("cemesh-kinds", b"\xff")),
        *(("cemesh-notes", b""), ("cemesh-notes", b"[]"), ("cemesh-notes", b'{"to":"\xff"}')),
        *(("cemesh-notes", b'{"x":' + b"[" * 100_000), ("cemesh-notes", b'{"attempts":-1}')),
        *(("cemesh-notes", b'{"due":"2026-07-01T12:00:00"}'), ("cemesh-notes", None)),
    ],
)
def test_a_header_of_ours_that_cannot_be_read_is_refused(header: tuple[str, bytes | None]) -> None:
    error = refusal([*CONTEXT, ("ce_note", b"x"), header])

    assert f"'{header[0]}'" in error.detail
    assert error.attribute is None


@pytest.mark.parametrize("kinds", [b"note=integer", b"note=boolean", b"other=integer"])
def test_kinds_that_do_not_fit_the_attributes_are_refused(kinds: bytes) -> None:
    error = refusal([*CONTEXT, ("ce_note", b"x"), ("cemesh-kinds", kinds)])

    assert error.attribute == kinds.partition(b"=")[0].decode()


def test_what_a_structured_value_says_itself_is_read_from_nowhere_else() -> None:
    beside = [("cemesh-kinds", b"id=integer"), ("cemesh-data", b"absent")]

    assert decode([STRUCTURED, *beside], BODY[:-1] + b', "data": 1}')[0].data == b"1"


def test_data_that_is_said_to_be_absent_must_be() -> None:
    assert "beside data" in refusal([*CONTEXT, ("cemesh-data", b"absent")], b"x").detail


@pytest.mark.parametrize("mode", [[], [STRUCTURED]])
@pytest.mark.parametrize("name", ["cemesh-hops", "cemesh-notes"])
def test_a_header_of_ours_occurs_once(name: str, mode: list[tuple[str, bytes]]) -> None:
    error = refusal([*CONTEXT, *mode, (name, b"1"), (name, b"1")], BODY)

    assert error.detail == f"the header '{name}' occurs twice"


def test_notes_of_a_later_version_are_read_as_far_as_they_are_known() -> None:
    notes = ("cemesh-notes", b'{"to":"default/audit","later":{"a":[1]}}')

    assert decode([*CONTEXT, notes], b"") == (Event(REQUIRED, b""), Notes(to="default/audit"))


# --- the CloudEvents SDK as a peer -------------------------------------------------------------

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
ATTRIBUTES = {
    "subject": 'Euro € "quoted" 100% %41 😀',
    "partitionkey": "customer-1",
    "datacontenttype": "application/json",
}


@pytest.mark.parametrize("write", [sdk_kafka.to_binary_event, sdk_kafka.to_structured_event])
def test_we_read_what_the_sdk_writes(
    write: Callable[[CloudEvent], sdk_kafka.KafkaMessage],
) -> None:
    message = write(CloudEvent({**REQUIRED, "time": NOON, **ATTRIBUTES}, {"é": [1, 2.5]}))

    event = event_of(list(message.headers.items()), message.value)

    assert event.attributes == {**REQUIRED, "time": "2026-07-01T12:00:00Z", **ATTRIBUTES}
    assert event.data is not None
    assert json.loads(event.data) == {"é": [1, 2.5]}


@pytest.mark.parametrize("note", ["", "x" * STRUCTURED_FROM])
def test_the_sdk_reads_what_we_write(note: str) -> None:
    context = {**REQUIRED, **ATTRIBUTES, "note": note}
    event = Event({**context, "time": "2026-07-01T12:00:00Z"}, b'{"a":[1,2.5]}')

    record = encode(replace(event, hops=3), NOTES)
    assert (STRUCTURED in record.headers) == bool(note)
    assert record.value is not None
    read = sdk_kafka.from_kafka_event(
        sdk_kafka.KafkaMessage(dict(record.headers), record.key, record.value)
    )

    assert read.get_attributes() == {**context, "time": NOON}
    assert read.get_data() == {"a": [1, 2.5]}


def test_a_key_that_the_sdk_writes_becomes_no_attribute() -> None:
    message = sdk_kafka.to_binary(
        CloudEvent(dict(REQUIRED), b"x"), JSONFormat(), lambda event: "foreign"
    )

    event = event_of(list(message.headers.items()), message.value)

    assert message.key == "foreign"
    assert "partitionkey" not in event.attributes
