"""The CloudEvents SDK as a peer: its values, and its messages over the wire."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from cloudevents.core.bindings import http as sdk_http
from cloudevents.core.v1.event import CloudEvent

from broker.codecs.http import decode, encode_binary, encode_structured
from broker.codecs.sdk import from_sdk, to_sdk
from broker.errors import InvalidEvent
from broker.event import Event

REQUIRED = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "order"}
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def sdk_event(data: Any = None, **more: object) -> CloudEvent:  # noqa: ANN401  # as in the SDK
    return CloudEvent({**REQUIRED, "time": NOON, **more}, data)


def test_the_attributes_of_an_sdk_event_become_canonical_text() -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    event = from_sdk(
        sdk_event(flag=True, off=False, count=-3, note="é", seen=NOON.astimezone(zone))
    )

    assert event.attributes == {
        **REQUIRED,
        "time": "2026-07-01T12:00:00Z",
        "flag": "true",
        "off": "false",
        "count": "-3",
        "note": "é",
        "seen": "2026-07-01T17:30:00+05:30",
    }
    assert event.kinds == {"flag": "boolean", "off": "boolean", "count": "integer"}


@pytest.mark.parametrize(
    ("data", "payload"),
    [
        (None, None),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        ("té", "té".encode()),
        ("", b""),
    ],
)
def test_bytes_and_text_are_the_payload_as_they_are(data: object, payload: bytes | None) -> None:
    event = from_sdk(sdk_event(data))

    assert event.data == payload
    assert "datacontenttype" not in event.attributes


@pytest.mark.parametrize(
    ("data", "payload"),
    [({"é": [1, None]}, '{"é":[1,null]}'.encode()), ([1], b"[1]"), (1.5, b"1.5"), (True, b"true")],
)
def test_other_data_becomes_json_and_says_so(data: object, payload: bytes) -> None:
    event = from_sdk(sdk_event(data))

    assert event.data == payload
    assert event.attributes["datacontenttype"] == "application/json"


def test_a_content_type_that_is_there_is_kept() -> None:
    event = from_sdk(sdk_event({"a": 1}, datacontenttype="application/vnd.x+json"))

    assert event.attributes["datacontenttype"] == "application/vnd.x+json"


@pytest.mark.parametrize("data", [float("nan"), {"a": object()}, "\ud800", {"a": "\ud800"}])
def test_data_that_cannot_be_written_is_refused(data: object) -> None:
    with pytest.raises(InvalidEvent):
        from_sdk(sdk_event(data))


@pytest.mark.parametrize("value", [1.5, b"x", [1], 1 << 31, "a\nb"])
def test_an_attribute_that_no_event_can_have_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent) as caught:
        from_sdk(sdk_event(note=value))
    assert caught.value.attribute == "note"


def test_an_event_goes_to_the_sdk_and_back() -> None:
    event = Event(
        {**REQUIRED, "time": "2026-07-01T12:00:00.5Z", "flag": "true", "count": "7", "text": "7"},
        b'{"a" :1}',
        {"flag": "boolean", "count": "integer"},
    )

    there = to_sdk(event)

    assert there.get_time() == NOON + timedelta(seconds=0.5)
    assert there.get_extension("flag") is True
    assert there.get_extension("count") == 7
    assert there.get_extension("text") == "7"
    back = from_sdk(there)
    assert back.data == event.data
    assert back.kinds == event.kinds
    assert back.attributes == {**event.attributes, "time": "2026-07-01T12:00:00.500000Z"}


def test_the_sdk_invents_no_time_for_our_events() -> None:
    assert to_sdk(Event(REQUIRED)).get_attributes() == REQUIRED


def test_a_time_that_no_datetime_can_hold_is_refused() -> None:
    with pytest.raises(InvalidEvent) as caught:
        to_sdk(Event({**REQUIRED, "time": "2016-12-31T23:59:60Z"}))
    assert caught.value.attribute == "time"


# --- over the wire -------------------------------------------------------------------------


def as_asgi(message: sdk_http.HTTPMessage) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in message.headers.items()]


ATTRIBUTES = {"subject": 'Euro € "quoted" 100% %41 😀', "datacontenttype": "application/json"}


@pytest.mark.parametrize("write", [sdk_http.to_binary_event, sdk_http.to_structured_event])
def test_we_read_what_the_sdk_writes(
    write: Callable[[CloudEvent], sdk_http.HTTPMessage],
) -> None:
    message = write(sdk_event({"é": [1, 2.5]}, **ATTRIBUTES))

    [event] = decode(as_asgi(message), message.body)

    assert event.attributes == {**REQUIRED, "time": "2026-07-01T12:00:00Z", **ATTRIBUTES}
    assert event.data is not None
    assert json.loads(event.data) == {"é": [1, 2.5]}


def test_the_sdk_reads_what_we_write() -> None:
    event = Event({**REQUIRED, "time": "2026-07-01T12:00:00Z", **ATTRIBUTES}, b'{"a":[1,2.5]}')

    for headers, body in (encode_binary(event), encode_structured(event)):
        message = sdk_http.HTTPMessage(
            {name.decode(): value.decode() for name, value in headers}, body
        )
        read = sdk_http.from_http_event(message)
        assert read.get_attributes() == {**REQUIRED, "time": NOON, **ATTRIBUTES}
        assert read.get_data() == {"a": [1, 2.5]}


def test_the_sdk_reads_our_base64() -> None:
    headers, body = encode_structured(Event({**REQUIRED, "time": "2026-07-01T12:00:00Z"}, b"\x00"))
    message = sdk_http.HTTPMessage({name.decode(): value.decode() for name, value in headers}, body)

    assert sdk_http.from_http_event(message).get_data() == b"\x00"
