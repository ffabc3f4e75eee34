"""Whatever others put into messages, the connection by which they come goes on."""

from __future__ import annotations

import asyncio
import struct
from datetime import UTC, datetime
from typing import Any

import aiormq
import pytest
from aiormq import spec
from aiormq.connection import ReceivedFrame
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from broker.channels.rabbitmq.incoming import Incoming

MARK = b"zqxj"
NO_TEXT = b"\xff\xfea\xff"
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
TOO_LATE = 400_000_000_000_000

names = st.text(max_size=20)
times = st.datetimes(
    datetime(1970, 1, 1), datetime(2106, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
).map(lambda time: time.replace(microsecond=0))  # fmt: skip
values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, width=32)
    | st.text()
    | st.binary().map(bytearray)
    | times,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
short_texts = st.none() | st.text(min_size=1, max_size=30)
properties = st.builds(
    spec.Basic.Properties,
    content_type=short_texts,
    headers=st.none() | st.dictionaries(names, values, min_size=1, max_size=5),
    delivery_mode=st.none() | st.sampled_from([1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=short_texts,
    message_id=short_texts,
    timestamp=st.none() | times,
    app_id=short_texts,
)


def reading(data: bytes) -> Incoming:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return Incoming(reader)


def read(data: bytes) -> list[ReceivedFrame]:
    async def frames() -> list[ReceivedFrame]:
        return [each async for each in reading(data)]

    return asyncio.run(frames())


def header_frame(**told: Any) -> bytes:  # noqa: ANN401
    return frame.marshal(ContentHeader(properties=spec.Basic.Properties(**told)), 1)


def headers(received: ReceivedFrame) -> spec.Basic.Properties:
    header = received[2]
    assert isinstance(header, ContentHeader)
    return header.properties


@given(properties, st.integers(0, 2**40))
def test_what_aiormq_can_read_is_read_the_same(sent: spec.Basic.Properties, size: int) -> None:
    data = frame.marshal(ContentHeader(body_size=size, properties=sent), 7)
    length, channel, expected = frame.unmarshal(data)
    assert isinstance(expected, ContentHeader)

    [(*found, header)] = read(data)

    assert found == [length, channel]
    assert isinstance(header, ContentHeader)
    assert header.properties == expected.properties
    assert header.body_size == size


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=4))
def test_frames_come_one_after_the_other_up_to_the_end(bodies: list[bytes]) -> None:
    received = read(b"".join(frame.marshal(ContentBody(body), 3) for body in bodies))

    assert [body.value for _, _, body in received if isinstance(body, ContentBody)] == bodies


@given(st.binary(max_size=60) | st.binary(max_size=60).map(b"\0\x3c\0\0\0\0\0\0\0\0\0\1".__add__))
@example(b"\0\x3c\0\0\0\0\0\0\0\0\0\1\x20\0\0\0\0\x05\1a?bc")
@example(b"\0\x3c\0\0\0\0\0\0\0\0\0\1\x20\0\0\0\0\x05\1aSbc")
def test_no_header_does_worse_than_to_end_the_connection(payload: bytes) -> None:
    sent = struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"
    try:
        [received] = read(sent)
    except aiormq.AMQPError:
        return
    assert isinstance(received[2], ContentHeader)


@pytest.mark.parametrize("name", ["content_type", "content_encoding"])
def test_what_is_no_text_about_the_content_has_lone_surrogates(name: str) -> None:
    [received] = read(header_frame(**{name: MARK.decode()}).replace(MARK, NO_TEXT))

    assert getattr(headers(received), name) == "\udcff\udcfea\udcff"


@pytest.mark.parametrize(
    "name", ["message_id", "correlation_id", "reply_to", "app_id", "message_type", "user_id"]
)
def test_any_other_property_that_is_no_text_is_left_out(name: str) -> None:
    sent = header_frame(
        **{name: MARK.decode(), "content_type": "text/plain", "headers": {"a": "b"}}
    )

    [received] = read(sent.replace(MARK, NO_TEXT))

    assert headers(received) == spec.Basic.Properties(content_type="text/plain", headers={"a": "b"})


def test_a_time_that_is_out_of_range_is_left_out_or_a_number() -> None:
    late = struct.pack(">Q", TOO_LATE)
    sent = header_frame(timestamp=MOMENT, headers={"a": MOMENT, "b": [{"c": MOMENT}]}, app_id="x")

    [received] = read(sent.replace(struct.pack(">Q", int(MOMENT.timestamp())), late))

    assert headers(received).timestamp is None
    assert headers(received).headers == {"a": TOO_LATE, "b": [{"c": TOO_LATE}]}
    assert headers(received).app_id == "x"


def test_a_name_of_a_header_that_is_no_text_has_lone_surrogates() -> None:
    sent = header_frame(headers={"ok": 1, MARK.decode(): {MARK.decode(): MARK.decode()}})

    [received] = read(sent.replace(MARK, NO_TEXT))

    name = "\udcff\udcfea\udcff"
    assert headers(received).headers == {"ok": 1, name: {name: NO_TEXT}}


@pytest.mark.parametrize("kind", [b"A", b"F"])
def test_tables_within_each_other_without_end_hide_nothing(kind: bytes) -> None:
    nested = b"V"
    for _ in range(10_000):
        name = b"\1n" if kind == b"F" else b""
        nested = kind + struct.pack(">I", len(name + nested)) + name + nested
    sent = header_frame(headers={"a": MARK.decode(), "b": "c"}, app_id="x")
    text = b"S" + struct.pack(">I", len(MARK)) + MARK
    whole = sent[7:-1].replace(text, nested)
    length = struct.unpack_from(">I", whole, 14)[0] + len(nested) - len(text)
    payload = whole[:14] + struct.pack(">I", length) + whole[18:]

    [received] = read(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")

    found = headers(received)
    assert found.headers is not None
    assert (found.headers["b"], found.app_id) == ("c", "x")
    assert len(repr(found.headers["a"])) < 1_000


def test_where_a_message_is_from_may_be_no_text() -> None:
    sent = frame.marshal(spec.Basic.Deliver("tag", 7, True, MARK.decode(), MARK.decode() * 2), 1)

    [received] = read(sent.replace(MARK, NO_TEXT))

    name = "\udcff\udcfea\udcff"
    assert told(received) == ["tag", 7, True, name, name * 2]


@given(st.text(max_size=30), st.integers(1, 2**63 - 1), st.booleans(), st.text(max_size=30))
def test_a_delivery_is_read_as_it_was_sent(tag: str, number: int, again: bool, key: str) -> None:
    sent = frame.marshal(spec.Basic.Deliver(tag, number, again, "b.shop.orders", key), 9)

    [received] = read(sent)

    assert received[:2] == (len(sent), 9)
    assert told(received) == [tag, number, again, "b.shop.orders", key]


def told(received: ReceivedFrame) -> list[object]:
    deliver = received[2]
    assert isinstance(deliver, spec.Basic.Deliver)
    return [value for _, value in deliver]


def test_a_connection_that_ends_within_a_frame_is_lost() -> None:
    sent = header_frame(app_id="x")

    for end in (1, 7, 8, len(sent) - 1):
        with pytest.raises(aiormq.AMQPConnectionError, match="ended the connection"):
            read(sent[:end])


def test_other_frames_that_cannot_be_read_end_the_connection() -> None:
    with pytest.raises(aiormq.exceptions.InvalidFrameError):
        read(struct.pack(">BHI", 1, 1, 4) + b"\xff" * 4 + b"\xce")
