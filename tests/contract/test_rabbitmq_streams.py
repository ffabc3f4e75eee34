"""Reading streams on a real RabbitMQ: their ends, any part of them, and what comes."""

from __future__ import annotations

import asyncio
import logging
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from aiormq import spec
from aiormq.abc import ChannelFrame
from pamqp import frame
from pamqp.base import Frame
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from broker.channels.rabbitmq import streams
from broker.channels.rabbitmq.foreign import event_of_message
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.publishing import Outgoing, Publishing
from broker.channels.rabbitmq.stamps import Stamps
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.codecs.amqp import Message
from broker.errors import ChannelUnavailable, InvalidEvent
from tests.contract.rabbitmq import SOON, settings_of, until
from tests.services.relay import Relay

NAME = "stream"


@dataclass
class Process:
    """One process of several: its connections, and what it appends by them."""

    link: Link
    publishing: Publishing
    stamps: Stamps = field(default_factory=Stamps)

    def stream(self, name: str = NAME) -> Stream:
        return Stream(self.link, name)

    async def append(self, *bodies: bytes, stream: str = NAME) -> None:
        unroutable = await self.publishing.publish(
            [
                Outgoing(
                    message=Message(body=body, headers={}, content_type=None),
                    stamp=self.stamps.new(),
                    routing_key=stream,
                )
                for body in bodies
            ]
        )
        assert not unroutable


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Process]:
    settings = settings_of(url)
    async with Link(settings, "test") as link, Publishing(settings) as publishing:
        yield Process(link, publishing)


def numbers(count: int, start: int = 0, size: int = 0) -> list[bytes]:
    return [str(number).encode().ljust(size) for number in range(start, start + count)]


async def read(
    stream: Stream, start: int | datetime | None = None, end: int | None = None
) -> Sequence[Entry]:
    if end is None:
        end = await stream.end()
    async with aclosing(stream.read(start, end)) as entries:
        return [entry async for entry in entries]


def told(entries: Sequence[Entry]) -> list[int]:
    return [int(entry.body) for entry in entries]


async def taken(entries: AsyncIterator[Entry], count: int) -> list[int]:
    async with asyncio.timeout(SOON):
        return told([await anext(entries) for _ in range(count)])


# --- the end -------------------------------------------------------------------------------


async def test_the_end_is_behind_all_that_was_confirmed_whoever_appended_it(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        assert await stream.end() == 0
        ends = []
        for count in range(1, 30):
            await (one, other)[count % 2].append(*numbers(count))
            ends.append((await one.stream().end(), await stream.end()))

        assert ends == [(sum(range(n + 1)), sum(range(n + 1))) for n in range(1, 30)]


async def test_a_stream_whose_entries_are_delivered_late_is_not_taken_for_an_empty_one(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_EMPTY_AFTER", timedelta())
    monkeypatch.setattr(streams, "_SLOWER", 0)
    async with process(rabbitmq) as one:
        for number in range(10):
            name = f"{NAME}-{number}"
            await one.stream(name).declare()
            await one.append(*numbers(3), stream=name)
            assert await one.stream(name).end() == 3


async def test_the_end_is_exact_while_many_append(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        confirmed = 0

        async def append() -> None:
            nonlocal confirmed
            for _ in range(20):
                await other.append(*numbers(100, size=200))
                confirmed += 100

        async with asyncio.TaskGroup() as tasks:
            appending = [tasks.create_task(append()) for _ in range(3)]
            while not all(task.done() for task in appending):
                before = confirmed
                assert await stream.end() >= before

        assert await stream.end() == 6_000


async def test_the_end_is_known_when_the_retention_has_removed_what_was_before(
    rabbitmq: str,
) -> None:
    async with process(rabbitmq) as one:
        stream = one.stream()
        await stream.declare(max_bytes=100_000, segment_bytes=20_000)
        for start in range(0, 2_000, 100):
            await one.append(*numbers(100, start, size=500))

        entries = await read(stream)

        assert told(entries) == list(range(2_000))[-len(entries) :]
        assert 100 <= len(entries) < 1_000
        assert await stream.end() == entries[-1].offset + 1
        assert await read(stream, 3) == entries
        assert await read(stream, 3, 5) == []


async def test_a_stream_that_somebody_made_anew_is_empty(
    rabbitmq: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_FILLED_AFTER", timedelta(seconds=2))
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        await other.append(b"0")
        assert await stream.end() == 1
        await delete(other)
        await stream.declare()

        assert await stream.end() == 0

        monkeypatch.setattr(streams, "_FILLED_AFTER", timedelta(hours=1))  # no longer awaited
        async with asyncio.timeout(SOON):
            assert await stream.end() == 0
        await other.append(b"0")
        assert await stream.end() == 1


# --- parts ---------------------------------------------------------------------------------


async def test_any_part_can_be_read_again_and_again(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        assert await read(stream) == await read(stream, 0) == []
        for start in range(0, 3_000, 50):
            await other.append(*numbers(50, start))

        whole = await read(stream)
        assert told(whole) == [entry.offset for entry in whole] == list(range(3_000))
        assert await read(other.stream()) == whole
        assert await read(stream, None, 1) == whole[:1]
        assert await read(stream, 17, 1_234) == whole[17:1_234]
        assert await read(stream, 2_999) == whole[-1:]
        assert await read(stream, 3_000) == await read(stream, 7, 7) == []


async def test_an_entry_tells_what_was_published(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        stream = one.stream()
        await stream.declare()
        message = Message(body=b"\xff\x00", headers={"ce-é": "ü"}, content_type="text/x")
        outgoing = Outgoing(
            message=message, stamp=one.stamps.new(), routing_key=NAME, headers={"more": ""}
        )
        await one.publishing.publish([outgoing])

        [entry] = await read(stream)

    assert (entry.body, entry.content_type) == (b"\xff\x00", "text/x")
    assert entry.headers == {"ce-é": "ü", "more": ""}
    assert entry.stamp == entry.message_id == outgoing.stamp
    assert (entry.exchange, entry.routing_key) == ("", NAME)
    assert (entry.timestamp, entry.content_encoding) == (None, None)


async def test_what_is_read_from_a_time_on_lacks_nothing_of_then(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        stream = one.stream()
        await stream.declare()
        assert await read(stream, datetime.now(UTC)) == []
        times = []
        for start in (0, 100, 200):
            await a_second_passes()
            times.append(datetime.now(UTC))
            for each in range(start, start + 100):
                await one.append(*numbers(1, each))
        end = await stream.end()

        async def since(time: datetime) -> list[int]:
            return told(await read(stream, time, end))

        assert await since(times[0]) == await since(times[0] - timedelta(days=1)) == [*range(300)]
        assert await since(times[1]) == [*range(100, 300)]
        assert await since(times[2]) == [*range(200, 300)]
        # As far as the server tells, the last one may be of that time.
        assert await since(datetime.now(UTC) + timedelta(days=1)) in ([], [299])


async def a_second_passes() -> None:
    """Return in another second of the clock: RabbitMQ tells none that are shorter apart."""
    second = int(time.time())
    await until(lambda: int(time.time()) > second)


async def test_who_reads_slowly_is_sent_no_more_than_some_hundred_entries_ahead(
    rabbitmq: str,
) -> None:
    async with process(rabbitmq) as one:
        stream = one.stream()
        await stream.declare()
        for start in range(0, 3_000, 100):
            await one.append(*numbers(100, start, size=4_000))
        end = await stream.end()

        tracemalloc.start()
        count = 0
        async with aclosing(stream.read(None, end)) as entries:
            async for entry in entries:
                assert int(entry.body) == count
                count += 1
                for _ in range(10):
                    await asyncio.sleep(0)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert count == 3_000
    assert most < 5_000_000  # of 12,000,000


async def test_who_stops_reading_leaves_no_channel_behind(rabbitmq: str) -> None:
    async with process(rabbitmq) as one:
        stream = one.stream()
        await stream.declare()
        await one.append(*numbers(1_000))
        before = await a_channel(one)
        for _ in range(5):
            async with aclosing(stream.read(None, await stream.end())) as entries:
                assert int((await anext(entries)).body) == 0
            async with stream.follow(0) as following:
                assert await taken(following, 1) == [0]

        assert await a_channel(one) == before


async def a_channel(process: Process) -> int:
    """Return the number that a channel gets now: a higher one than all that are open."""
    channel = await process.link.open_channel()
    await channel.close()
    return channel.number


# --- following -----------------------------------------------------------------------------


async def test_who_follows_is_told_what_is_appended_from_then_on(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        for number in range(10):
            async with stream.follow(None) as entries:
                await other.append(*numbers(2, 2 * number))

                assert await taken(entries, 2) == [2 * number, 2 * number + 1]


async def test_who_follows_from_an_offset_on_misses_nothing_however_much_comes(
    rabbitmq: str,
) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        await other.append(*numbers(2_000))
        async with stream.follow(1_500) as entries, stream.follow(2_000) as newer:
            assert await taken(entries, 500) == [*range(1_500, 2_000)]
            for start in range(2_000, 5_000, 100):
                await other.append(*numbers(100, start))

            assert await taken(entries, 3_000) == [*range(2_000, 5_000)]
            assert await taken(newer, 3_000) == [*range(2_000, 5_000)]


async def test_who_follows_is_told_of_an_outage_and_goes_on_where_it_was(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    async with process(rabbitmq) as other, process(rabbitmq_relay.in_url(rabbitmq)) as one:
        stream = one.stream()
        await stream.declare()
        await other.append(*numbers(3))
        async with stream.follow(0) as entries:
            assert await taken(entries, 2) == [0, 1]
            with rabbitmq_relay.cut():
                with pytest.raises(ChannelUnavailable):
                    await taken(entries, 2)
                with pytest.raises(ChannelUnavailable):
                    await taken(entries, 1)
                await other.append(*numbers(1, 3))
                for ask in (stream.end(), read(stream), read(stream, 0, 1), stream.declare()):
                    with pytest.raises(ChannelUnavailable, match=r"127\.0\.0\.1"):
                        await ask

        await until(lambda: one.link.trouble is None)
        async with stream.follow(2) as entries:
            assert await taken(entries, 2) == [2, 3]
        assert await stream.end() == 4


async def test_who_follows_a_stream_that_is_deleted_is_told(rabbitmq: str) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        async with stream.follow(None) as entries:
            await delete(other)

            with pytest.raises(ChannelUnavailable, match=f"'{NAME}': was the stream deleted"):
                await taken(entries, 1)

        with pytest.raises(ChannelUnavailable, match=f"no queue '{NAME}'"):
            await stream.end()
        with pytest.raises(ChannelUnavailable, match=f"no queue '{NAME}'"):
            await read(stream, 0, 1)


async def delete(process: Process) -> None:
    channel = await process.link.open_channel()
    await channel.queue_delete(NAME)


# --- what is there already -----------------------------------------------------------------


async def test_a_stream_with_other_limits_is_used_as_it_is_and_that_is_told(
    rabbitmq: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        await one.stream().declare(max_age=timedelta(days=7), max_bytes=1 << 30)
        await one.append(b"0")
        await other.stream().declare(max_age=timedelta(days=7), max_bytes=1 << 30)
        assert warnings(caplog) == []

        await other.stream().declare(max_age=timedelta(days=8), max_bytes=1 << 30)

        [warning] = warnings(caplog)
        assert warning.stream == NAME  # type: ignore[attr-defined]
        assert "x-max-age" in warning.why  # type: ignore[attr-defined]
        assert told(await read(other.stream())) == [0]


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if each.name == "cemesh.channel"]


@pytest.mark.parametrize("kind", ["quorum", "classic"])
async def test_a_queue_that_is_no_stream_is_refused_and_nothing_is_taken_from_it(
    rabbitmq: str, kind: str
) -> None:
    async with process(rabbitmq) as one:
        channel = await one.link.open_channel()
        await channel.queue_declare(NAME, durable=True, arguments={"x-queue-type": kind})
        await one.append(b"0")

        for ask in (
            one.stream().declare(),
            one.stream().declare(max_bytes=1_000_000),
            one.stream().end(),
            read(one.stream(), 0, 1),
        ):
            with pytest.raises(ChannelUnavailable, match=r"x-queue-type|x-stream-offset"):
                await ask

        message = await channel.basic_get(NAME)
        assert message.body == b"0"


# --- what others publish -------------------------------------------------------------------

EXCHANGE = "amq.fanout"
MARK = b"zqxj"
NO_TEXT = b"\xff\xfe\xfd\xff"
MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SECONDS = struct.pack(">Q", int(MOMENT.timestamp()))
TOO_LATE = struct.pack(">Q", 400_000_000_000_000)


async def publish(
    process: Process, properties: spec.Basic.Properties, was: bytes = b"", becomes: bytes = b""
) -> None:
    """Publish a message to the stream in which some bytes are replaced by others."""
    channel = await process.link.open_channel()
    frames: Sequence[Frame | ContentHeader | ContentBody] = [
        spec.Basic.Publish(exchange=EXCHANGE, routing_key="routed"),
        ContentHeader(body_size=1, properties=properties),
        ContentBody(b"?"),
    ]
    data = b"".join(frame.marshal(each, channel.number) for each in frames)
    assert was in data
    before = await process.stream().end()
    await channel.connection.write_queue.put(
        ChannelFrame(data.replace(was, becomes) if was else data, should_close=False)
    )
    async with asyncio.timeout(SOON):
        while await process.stream().end() == before:
            await asyncio.sleep(0)


async def test_what_no_client_should_publish_stops_nobody(rabbitmq: str) -> None:
    properties = spec.Basic.Properties
    text = MARK.decode()
    async with process(rabbitmq) as one, process(rabbitmq) as other:
        stream = one.stream()
        await stream.declare()
        channel = await one.link.open_channel()
        await channel.queue_bind(NAME, EXCHANGE)
        async with stream.follow(0) as entries:
            await publish(other, properties(content_type=text), MARK, NO_TEXT)
            await publish(other, properties(message_id=text), MARK, NO_TEXT)
            await publish(other, properties(headers={text: text}), MARK, NO_TEXT)
            await publish(other, properties(), b"routed", b"\xff\xfe\xff\xfe\xff\xfe")
            await publish(other, properties(timestamp=MOMENT), SECONDS, TOO_LATE)
            await publish(other, properties(headers={"a": MOMENT}), SECONDS, TOO_LATE)
            await publish(other, properties(headers={"x-stream-offset": "junk"}))
            await publish(other, properties())
            await one.append(b"0")

            async with asyncio.timeout(SOON):
                followed = [await anext(entries) for _ in range(9)]

        assert [entry.offset for entry in followed] == list(range(9))
        assert await read(stream) == followed
        for entry in followed[:8]:
            with pytest.raises(InvalidEvent):
                entry.decode()
            assert event_of_message(entry, NAME).data == b"?"
