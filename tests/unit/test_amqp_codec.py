"""Events as AMQP 0-9-1 messages: what they look like, what is read, what is refused and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aio_pika
import pytest
from pamqp.header import ContentHeader

from broker.codecs.amqp import STRUCTURED, Message, decode, encode, matching
from broker.codecs.http import STRUCTURED_FROM
from broker.codecs.notes import NO_NOTES, Notes
from broker.errors import InvalidEvent
from broker.event import Event, shown
from broker.filters.terms import Term, present
from broker.ports import Refusal

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"}
CONTEXT = {f"ce-{name}": value for name, value in REQUIRED.items()}
EVENT_TYPE = "application/cloudevents+json"
BODY = json.dumps(REQUIRED).encode()

NOTES = Notes(
    to="default/audit",
    attempts=3,
    condemned=Refusal(
        destination="http://audit/", reason="é", status=None, body=b"\x00\xff", attempts=11
    ),
    due=datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=UTC),
)


def event_of(headers: dict[str, Any], body: bytes = b"", content_type: str | None = None) -> Event:
    event, notes = decode(headers, body, content_type=content_type)
    assert notes is NO_NOTES
    return event


def refusal(
    headers: dict[str, Any], body: bytes = b"", content_type: str | None = None
) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode(headers, body, content_type=content_type)
    return caught.value


def there_and_back(event: Event, notes: Notes = NO_NOTES) -> tuple[Event, Notes]:
    message = encode(event, notes)
    return decode(message.headers, message.body, content_type=message.content_type)


def frame(message: Message) -> bytes:
    """Return the frame that aiormq makes of what is not the body."""
    published = aio_pika.Message(
        message.body,
        headers=dict(message.headers),
        content_type=message.content_type,
        delivery_mode=message.delivery_mode,
    )
    return ContentHeader(body_size=len(message.body), properties=published.properties).marshal()


def received(message: Message) -> tuple[Event, Notes]:
    header = ContentHeader()
    header.unmarshal(frame(message))
    properties = header.properties
    assert properties.delivery_mode == 2
    return decode(properties.headers or {}, message.body, content_type=properties.content_type)


# --- what a message looks like ---------------------------------------------------------------


def test_a_message_is_binary_with_every_attribute_as_text_in_a_header() -> None:
    attributes = {**REQUIRED, "subject": 'é "%41"', "datacontenttype": "text/plain", "n": "7"}
    event = Event(attributes, b"\x00\xff", {"n": "integer"})

    message = encode(event)

    assert message == Message(
        body=b"\x00\xff",
        content_type="text/plain",
        headers={
            **CONTEXT,
            "ce-subject": 'é "%41"',
            "ce-datacontenttype": "text/plain",
            "ce-n": "7",
            "cemesh-kinds": "n=integer",
            "cemesh-names": "specversion id source type subject datacontenttype n",
        },
    )


def test_attributes_keep_their_order_where_a_server_sorts_headers() -> None:
    event = Event({**REQUIRED, "zone": "z", "area": "a"}, b"")

    message = encode(event)
    got, _ = decode(dict(sorted(message.headers.items())), message.body)

    assert list(got.attributes) == list(event.attributes)


def test_names_that_are_not_those_of_the_attributes_change_nothing() -> None:
    headers = {**CONTEXT, "cemesh-names": "type id nobody"}

    got, _ = decode(headers, b"")

    assert dict(got.attributes) == REQUIRED


@pytest.mark.parametrize("data", [None, b"", b"null", b"\x00"])
@pytest.mark.parametrize("content_type", [{}, {"datacontenttype": EVENT_TYPE}])
def test_no_data_is_told_from_empty_data(data: bytes | None, content_type: dict[str, str]) -> None:
    event = Event({**REQUIRED, **content_type}, data)

    assert there_and_back(event)[0].data == data


def test_an_event_goes_structured_only_once_its_headers_pass_the_bound() -> None:
    def padded(by: int) -> Event:
        return Event({**REQUIRED, "note": "€" * (by // 3) + "x" * (by % 3)}, b"{}")

    used = sum(len(name) + len(value) + 6 for name, value in encode(padded(0)).headers.items())
    fitting = encode(padded(STRUCTURED_FROM - used))
    passing = encode(padded(STRUCTURED_FROM - used + 1))

    assert fitting.body == b"{}"
    assert passing.headers == STRUCTURED
    assert passing.content_type == EVENT_TYPE
    assert there_and_back(padded(STRUCTURED_FROM - used + 1)) == (
        padded(STRUCTURED_FROM - used + 1), NO_NOTES,
    )  # fmt: skip


def test_the_kinds_of_attributes_count_too() -> None:
    names = [f"n{number}" for number in range(300)]
    typed = Event({**REQUIRED, **dict.fromkeys(names, "1")}, None, dict.fromkeys(names, "integer"))

    assert "cemesh-mode" not in encode(Event(typed.attributes)).headers
    assert encode(typed).headers == STRUCTURED
    assert there_and_back(typed)[0] == typed


@pytest.mark.parametrize(("length", "mode"), [(125, "binary"), (126, "structured")])
def test_an_attribute_whose_name_amqp_cannot_have_goes_structured(length: int, mode: str) -> None:
    event = Event({**REQUIRED, "x" * length: "1"}, b"{}")

    message = encode(event)

    assert (message.headers == STRUCTURED) == (mode == "structured")
    assert received(message)[0] == event


def test_a_content_type_that_amqp_cannot_have_is_among_the_headers_alone() -> None:
    longest = f"text/plain;x={'y' * (255 - len('text/plain;x='))}"

    fitting = encode(Event({**REQUIRED, "datacontenttype": longest}))
    passing = encode(Event({**REQUIRED, "datacontenttype": f"{longest}y"}))

    assert (fitting.content_type, passing.content_type) == (longest, None)
    assert received(fitting)[0].attributes["datacontenttype"] == longest
    assert received(passing)[0].attributes["datacontenttype"] == f"{longest}y"


def test_an_event_that_carries_an_event_is_not_taken_for_it() -> None:
    event = Event({**REQUIRED, "datacontenttype": "Application/CloudEvents+JSON"}, b'{"id": 2}')

    message = encode(event)

    assert message.headers == STRUCTURED
    assert received(message)[0] == event


@pytest.mark.parametrize("note", ["", "x" * STRUCTURED_FROM])
def test_what_is_known_beside_an_event_comes_back_in_either_mode(note: str) -> None:
    event = Event(
        {**REQUIRED, "flag": "true", "count": "-7", "text": "7", "note": note},
        b"{}",
        {"flag": "boolean", "count": "integer"},
        hops=3,
    )

    assert received(encode(event, NOTES)) == (event, NOTES)


def test_what_is_the_meshs_own_is_in_headers_that_no_attribute_can_have() -> None:
    event = Event({**REQUIRED, "flag": "true"}, b"", {"flag": "boolean"}, hops=3)

    headers = encode(event, NOTES).headers

    own = {name: value for name, value in headers.items() if not name.startswith("ce-")}
    notes = {"cemesh-data", "cemesh-kinds", "cemesh-names", "cemesh-hops", "cemesh-notes"}
    assert own.keys() == notes
    assert own["cemesh-hops"] == "3"
    assert json.loads(own["cemesh-notes"])["to"] == "default/audit"


def test_whatever_a_refusal_tells_the_headers_fit_in_a_frame() -> None:
    worst = Refusal(
        destination="\x00" * 200_000, reason="\x00" * 200_000, status=None, body=b"\xff" * 1024,
        attempts=1,
    )  # fmt: skip
    event = Event({**REQUIRED, "note": "x" * (STRUCTURED_FROM - 200)})

    message = encode(event, Notes(to=f"{'n' * 63}/{'t' * 253}", condemned=worst))
    _, notes = received(message)

    assert len(frame(message)) < 48 * 1024
    assert notes.condemned is not None
    assert notes.condemned.reason == "\x00" * 2047 + "…"
    assert notes.condemned.destination == "\x00" * 2047 + "…"
    assert notes.condemned.body == worst.body


# --- the content mode ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [f"{EVENT_TYPE}; charset=UTF-8", 'Application/CloudEvents+JSON ;charset="utf-8"'],
)
def test_the_content_type_alone_makes_a_message_structured(content_type: str) -> None:
    beside = {"ce-id": "2", "ce-Type": None, "cloudEvents:id": "3", "specversion": "0.3"}

    assert event_of(beside, BODY, content_type) == Event(REQUIRED)
    assert event_of({**beside, "content-type": content_type}, BODY) == Event(REQUIRED)


@pytest.mark.parametrize("content_type", [None, "", "application/json"])
def test_any_other_content_type_makes_a_message_binary(content_type: str | None) -> None:
    event = event_of(CONTEXT, b'{"id":"2"}', content_type)

    assert event.id == "1"
    assert event.data == b'{"id":"2"}'


def test_the_property_goes_before_a_header_called_content_type() -> None:
    headers = {**CONTEXT, "content-type": EVENT_TYPE}

    assert event_of(headers, BODY, "text/plain").attributes["datacontenttype"] == "text/plain"
    assert event_of({**CONTEXT, "content-type": 7}, BODY).attributes == REQUIRED


@pytest.mark.parametrize(
    ("content_type", "detail"),
    [
        ("application/cloudevents-batch+json", "AMQP has no batched content mode"),
        ("application/cloudevents+avro", "'application/cloudevents+avro' is not read from AMQP"),
        ("application/cloudevents", "'application/cloudevents' is not read from AMQP"),
        (f"{EVENT_TYPE}; charset=utf-16", "charset 'utf-16' is not read"),
        ("application/cloudevents\ud800", "is not read"),
    ],
)
def test_a_format_that_is_not_read_is_refused(content_type: str, detail: str) -> None:
    assert detail in refusal(CONTEXT, BODY, content_type).detail


@pytest.mark.parametrize(("body", "detail"), [(b"", "JSON"), (b"{}", "'specversion'")])
def test_a_structured_message_needs_its_event(body: bytes, detail: str) -> None:
    assert detail in refusal(CONTEXT, body, EVENT_TYPE).detail


@pytest.mark.parametrize("encoding", [None, "", "identity", "UTF-8", "utf8", "binary", "us-ascii"])
def test_a_content_encoding_that_encodes_nothing_is_read(encoding: str | None) -> None:
    event, _ = decode(CONTEXT, b"x", content_encoding=encoding)

    assert event.data == b"x"


@pytest.mark.parametrize("content_type", ["application/json", EVENT_TYPE])
def test_a_message_that_is_compressed_is_refused(content_type: str) -> None:
    with pytest.raises(InvalidEvent, match="the content encoding 'gzip' is not read"):
        decode(CONTEXT, BODY, content_type=content_type, content_encoding="gzip")


# --- messages of others ----------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["ce-", "cloudEvents:", "cloudEvents_"])
def test_attributes_are_read_with_each_of_the_prefixes_in_use(prefix: str) -> None:
    headers = {f"{prefix}{name}": value for name, value in REQUIRED.items()}

    assert event_of({**headers, "specversion": "0.3", "note": "7"}, b"x") == Event(REQUIRED, b"x")


def test_attributes_are_read_from_messages_of_knatives_broker() -> None:
    headers = {
        **REQUIRED, "content-type": "text/plain", "time": "2026-07-01T12:00:00Z", "n": 7,
        # Not of the event: the trace of its way, what RabbitMQ and others add.
        "traceparent": "00-1", "tracestate": "", "x-death": [{"count": 1}], "CC": ["a"],
        "data": 1.5,
    }  # fmt: skip

    event = event_of(headers, b"x", "text/plain")

    assert event.attributes == {
        **REQUIRED, "datacontenttype": "text/plain", "time": "2026-07-01T12:00:00Z", "n": "7",
    }  # fmt: skip
    assert event.kinds == {"n": "integer"}


def test_an_empty_content_type_is_none() -> None:
    assert event_of({**REQUIRED, "content-type": ""}, b"x", "").attributes == REQUIRED


def test_what_is_noted_beside_an_event_of_knatives_form_is_read() -> None:
    own = {"cemesh-data": "empty", "cemesh-kinds": "n=integer", "cemesh-hops": "2"}

    event, _ = decode({**REQUIRED, "n": "7", **own}, b"")

    assert (event.data, event.kinds, event.hops) == (b"", {"n": "integer"}, 2)


def test_an_attribute_may_be_there_twice_if_it_says_the_same() -> None:
    event = event_of({**CONTEXT, "cloudEvents_id": "1"})

    assert event == Event(REQUIRED)
    assert refusal({**CONTEXT, "cloudEvents_id": "2"}).attribute == "id"


def test_headers_of_others_may_be_anything() -> None:
    others = {
        "trace": b"\xff", "x-death": [{"time": datetime(2026, 7, 1, tzinfo=UTC)}], "": None,
        "ce": 1.5, "cemesh-later": Decimal("1.5"), "cloudevents:id": "2", "CE-id": "3",
        "ce_id": "4",
    }  # fmt: skip

    assert event_of({**others, **CONTEXT}, b"x") == Event(REQUIRED, b"x")


@pytest.mark.parametrize(
    ("value", "text", "kind"),
    [
        (True, "true", "boolean"),
        (False, "false", "boolean"),
        (-(2**31), "-2147483648", "integer"),
        (2**31 - 1, "2147483647", "integer"),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01T12:00:00Z", None),
        (' "a%20b" ', ' "a%20b" ', None),
    ],
)
def test_a_value_of_a_type_that_attributes_have_becomes_its_text(
    value: object, text: str, kind: str | None
) -> None:
    event = event_of({**CONTEXT, "ce-note": value})

    assert event.attributes["note"] == text
    assert event.kinds.get("note") == kind


def test_a_time_may_be_a_timestamp_but_an_id_no_integer() -> None:
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)

    assert event_of({**CONTEXT, "ce-time": noon}).attributes["time"] == "2026-07-01T12:00:00Z"
    assert refusal({**CONTEXT, "ce-id": 1}).detail == "'id' is always a string"


@pytest.mark.parametrize(
    ("value", "what"),
    [
        (None, "null"),
        (b"\xff", "not UTF-8"),
        (bytearray(b"x"), "a byte array"),
        (1.5, "a floating-point number"),
        (Decimal("1.5"), "a decimal"),
        ({"a": 1}, "a table"),
        ([1], "an array"),
        (2**31, "an integer of more than 32 bits"),
    ],
)
@pytest.mark.parametrize("header", ["ce-note", "cloudEvents:note"])
def test_a_value_that_no_attribute_can_have_is_refused_by_name(
    header: str, value: object, what: str
) -> None:
    error = refusal({**CONTEXT, header: value})

    assert error.detail == f"the header '{header}' is {what}"
    assert error.attribute == "note"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ce-data", "x"), ("ce-Type", "x"), ("ce-", "x"), ("ce-my_x", "x"), ("ce-note", "a\nb")),
        *(("ce-time", "noon"), ("ce-note", "\ud800"), (f"ce-{'x' * 300}!", None)),
    ],
)
def test_a_header_that_can_be_no_attribute_is_refused_by_name(name: str, value: object) -> None:
    error = refusal({**CONTEXT, name: value})

    assert error.attribute == shown(name.removeprefix("ce-"))
    assert len(error.detail) < 300


@pytest.mark.parametrize("name", REQUIRED)
def test_a_required_attribute_is_needed(name: str) -> None:
    assert refusal({each: CONTEXT[each] for each in CONTEXT if each != f"ce-{name}"}).attribute == (
        name
    )


@pytest.mark.parametrize("headers", [{}, {"id": "1", "type": "order"}, {"cemesh-hops": "1"}])
def test_a_message_that_is_no_event_is_told_so(headers: dict[str, object]) -> None:
    assert refusal(headers, b"{}", "application/json").detail == (
        "the message is no CloudEvent: it has no header that begins with 'ce-', and its content "
        "type is not application/cloudevents+json"
    )


def test_an_empty_body_is_no_data() -> None:
    assert event_of(CONTEXT, b"").data is None


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({}, "text/plain"),
        ({"ce-datacontenttype": "text/plain"}, None),
        ({"ce-datacontenttype": "text/plain"}, "text/plain"),
        ({"content-type": "text/plain"}, ""),
    ],
)
def test_the_content_type_of_the_data_may_be_in_any_of_its_places(
    headers: dict[str, object], content_type: str | None
) -> None:
    event = event_of({**CONTEXT, **headers}, b"x", content_type)

    assert event.attributes == {**REQUIRED, "datacontenttype": "text/plain"}


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [({"ce-datacontenttype": "text/html"}, "text/plain"), ({}, "text"), ({}, "text/\ud800")],
)
def test_a_content_type_that_is_not_clear_is_refused(
    headers: dict[str, object], content_type: str
) -> None:
    assert refusal({**CONTEXT, **headers}, b"x", content_type).attribute == "datacontenttype"


# --- our own headers, written by somebody else -------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("cemesh-hops", "-1"), ("cemesh-hops", ""), ("cemesh-hops", "٣"), ("cemesh-hops", 3)),
        *(("cemesh-data", "absent"), ("cemesh-data", None), ("cemesh-data", "empty")),
        *(("cemesh-kinds", "note"), ("cemesh-kinds", "note=string"), ("cemesh-kinds", b"\xff")),
        *(("cemesh-notes", ""), ("cemesh-notes", "[]"), ("cemesh-notes", {"to": "a"})),
        *(("cemesh-notes", '{"x":' + "[" * 100_000), ("cemesh-notes", '{"to":"\ud800"}')),
        *(("cemesh-notes", '{"attempts":-1}'), ("cemesh-notes", '{"due":"2026-07-01T12:00:00"}')),
    ],
)
def test_a_header_of_ours_that_cannot_be_read_is_refused(name: str, value: object) -> None:
    error = refusal({**CONTEXT, "ce-note": "x", name: value}, b"x")

    assert f"'{name}'" in error.detail
    assert error.attribute is None


@pytest.mark.parametrize("kinds", ["note=integer", "note=boolean", "other=integer"])
def test_kinds_that_do_not_fit_the_attributes_are_refused(kinds: str) -> None:
    error = refusal({**CONTEXT, "ce-note": "x", "cemesh-kinds": kinds})

    assert error.attribute == kinds.partition("=")[0]


def test_what_a_structured_body_says_itself_is_read_from_nowhere_else() -> None:
    beside = {"cemesh-kinds": "id=integer", "cemesh-data": "empty"}

    event, _ = decode(beside, BODY[:-1] + b', "data": 1}', content_type=EVENT_TYPE)

    assert event == Event({**REQUIRED, "datacontenttype": "application/json"}, b"1")


# --- what a headers exchange can look up -------------------------------------------------------


def test_terms_of_a_filter_become_headers_to_look_up() -> None:
    terms = [
        Term("exact", "type", "order"),
        present("subject"),
        Term("exact", "datacontenttype", "text/plain"),
        Term("prefix", "source", "/shop"),
        Term("suffix", "id", "7"),
    ]

    assert matching(terms) == {
        "ce-type": "order", "ce-subject": None, "ce-datacontenttype": "text/plain",
    }  # fmt: skip


def test_an_attribute_that_is_there_and_has_a_value_is_looked_up_by_the_value() -> None:
    exact, there = Term("exact", "type", "order"), present("type")

    assert matching([exact, there]) == matching([there, exact]) == {"ce-type": "order"}


def test_what_only_a_structured_event_can_have_is_not_looked_up() -> None:
    long_name, long_value = "x" * 126, "x" * STRUCTURED_FROM

    assert matching([Term("exact", long_name, "1"), Term("exact", "type", long_value)]) == {}
    assert encode(Event({**REQUIRED, "type": long_value})).headers == STRUCTURED
