"""Whatever others put into messages, the connection by which they come goes on."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import aiormq
import pytest
from aiormq import spec
from aiormq.abc import ConsumerCallback, DeliveredMessage
from aiormq.connection import ReceivedFrame
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat

from broker.connections.rabbitmq.incoming import Incoming, at_once

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
    return Incoming(reader, {})


def read(data: bytes) -> list[ReceivedFrame]:
    async def frames() -> list[ReceivedFrame]:
        return [each async for each in reading(data)]

    return asyncio.run(frames())


def header_frame(**told: Any) -> bytes:  # noqa: ANN401
    return frame.marshal(ContentHeader(properties=spec.Basic.Properties(**told)), 1)


class Channel(aiormq.Channel):
    """What of a channel tells who receives a message."""

    is_closed = False

    def __init__(self, **consumers: ConsumerCallback) -> None:
        self.consumers = consumers


def delivered(
    tag: str, body: bytes = b"", sent: spec.Basic.Properties | None = None, size: int = 100
) -> list[bytes]:
    """Return the frames of a message for that consumer, by channel 5."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    header = ContentHeader(body_size=len(body), properties=sent)
    method = spec.Basic.Deliver(tag, 7, True, "b.shop.orders", "a key")
    marshalled = [frame.marshal(each, 5) for each in (method, header)]
    return marshalled + [frame.marshal(ContentBody(part), 5) for part in parts]


def received(pieces: Iterable[bytes], channel: aiormq.Channel) -> list[ReceivedFrame]:
    """Return what is left to aiormq of all that comes, in these pieces, until the end."""

    async def come(reader: asyncio.StreamReader) -> None:
        for each in pieces:
            reader.feed_data(each)
            await asyncio.sleep(0)
        reader.feed_eof()

    async def frames() -> list[ReceivedFrame]:
        reader = asyncio.StreamReader()
        coming = asyncio.ensure_future(come(reader))
        found: list[ReceivedFrame] = []
        with suppress(aiormq.AMQPConnectionError):  # which is how it tells the end
            async for each in Incoming(reader, {5: channel}):
                found.append(each)  # noqa: PERF401 - what came before the end counts
        await coming
        return found

    return asyncio.run(frames())


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


@settings(max_examples=50)
@given(properties, st.binary(max_size=400), st.integers(1, 150), st.integers(1, 700))
@example(spec.Basic.Properties(), bytes(range(250)), 100, 64)
def test_a_message_that_is_received_at_once_is_the_one_that_aiormq_would_make(
    sent: spec.Basic.Properties, body: bytes, frame_size: int, piece: int
) -> None:
    frames = delivered("now", body, sent, frame_size)
    other = frame.marshal(ContentBody(b"of another channel"), 6)
    data = other.join([*frames, frames[0], *frames[1:]])
    _, _, header = frame.unmarshal(frames[1])
    assert isinstance(header, ContentHeader)
    messages: list[DeliveredMessage] = []

    channel = Channel(now=at_once(messages.append))
    left = received((data[at : at + piece] for at in range(0, len(data), piece)), channel)

    assert [each.body for each in messages] == [body, body]
    for message in messages:
        assert message.header.properties == header.properties
        assert message.header.body_size == len(body)
        assert (message.consumer_tag, message.delivery_tag, message.redelivered) == ("now", 7, True)
        assert (message.exchange, message.routing_key) == ("b.shop.orders", "a key")
        assert message.channel is channel
    others = [each for _, number, each in left if number == 6 and isinstance(each, ContentBody)]
    assert [each.value for each in others] == [b"of another channel"] * (2 * len(frames) - 1)
    assert all(isinstance(each, Heartbeat) for _, number, each in left if number != 6)


def test_a_message_for_anybody_else_is_left_to_aiormq() -> None:
    messages: list[DeliveredMessage] = []

    async def later(message: DeliveredMessage) -> None:
        messages.append(message)

    left = received([b"".join(delivered("later", b"x") + delivered("gone"))], Channel(later=later))

    kinds = [spec.Basic.Deliver, ContentHeader, ContentBody, spec.Basic.Deliver, ContentHeader]
    assert [type(each) for _, _, each in left] == kinds
    assert messages == []


def test_messages_that_are_received_are_a_sign_of_life() -> None:
    data = b"".join(delivered("now", b"x") * 3)

    left = received([data, data], Channel(now=at_once(lambda _: None)))

    assert [(number, type(each)) for _, number, each in left] == [(0, Heartbeat), (0, Heartbeat)]


def test_a_closed_channel_receives_nothing() -> None:
    messages: list[DeliveredMessage] = []
    channel = Channel(now=at_once(messages.append))
    channel.is_closed = True

    received([b"".join(delivered("now", b"x"))], channel)

    assert messages == []


def test_whoever_fails_to_receive_a_message_receives_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    messages: list[DeliveredMessage] = []

    def receive(message: DeliveredMessage) -> None:
        messages.append(message)
        if len(messages) == 1:
            raise LookupError("a fault")

    received([b"".join(delivered("now", b"x") * 2)], Channel(now=at_once(receive)))

    assert len(messages) == 2
    [record] = caplog.records
    assert (record.getMessage(), record.exc_info and record.exc_info[0]) == (
        "message not received",
        LookupError,
    )


@pytest.mark.parametrize(
    "order", [(0, 2), (0, 0), (0, 1, 1), (0, 1, 0)], ids=["body", "message", "header", "within"]
)
def test_frames_of_a_message_in_another_order_end_the_connection(order: tuple[int, ...]) -> None:
    frames = delivered("now", b"x")

    with pytest.raises(aiormq.exceptions.InvalidFrameError, match="within a message"):
        received([b"".join(frames[each] for each in order)], Channel(now=at_once(lambda _: None)))


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_frame_of_a_message_that_does_not_end_as_frames_do_ends_the_connection(
    broken: int,
) -> None:
    frames = delivered("now", b"x")
    frames[broken] = frames[broken][:-1] + b"\xcd"

    with pytest.raises(aiormq.exceptions.InvalidFrameError, match="0xcd"):
        received([b"".join(frames)], Channel(now=at_once(lambda _: None)))


@given(st.binary(max_size=60).map(b"\0\x3c\0\0\0\0\0\0\0\0\0\0".__add__))
def test_a_header_is_refused_at_once_as_it_is_later(payload: bytes) -> None:
    header = struct.pack(">BHI", 2, 5, len(payload)) + payload + b"\xce"
    messages: list[DeliveredMessage] = []
    channel = Channel(now=at_once(messages.append))
    try:
        [expected] = read(header)
    except aiormq.AMQPError:
        with pytest.raises(aiormq.exceptions.InvalidFrameError):
            received([delivered("now")[0] + header], channel)
        assert messages == []
        return

    received([delivered("now")[0] + header], channel)

    [message] = messages
    assert message.header.properties == headers(expected)
