"""Looking back in a broker's stream and following it, on a real RabbitMQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from aiormq import spec

from broker.channels.clock import microseconds
from broker.channels.rabbitmq.history import RabbitmqHistory
from broker.channels.rabbitmq.link import Link
from broker.channels.rabbitmq.publishing import Outgoing
from broker.channels.rabbitmq.stamps import accepted_at, time_of
from broker.channels.rabbitmq.streams import Entry, Stream
from broker.channels.rabbitmq.tailing import Tailing
from broker.codecs.amqp import Message, encode
from broker.codecs.notes import Notes
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Stored
from tests.contract.rabbitmq import SOON, until
from tests.contract.test_rabbitmq_streams import NAME, Process, delete, process
from tests.services.relay import Relay

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)


def event(id: str, data: bytes | None = None) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/", "type": "order"}, data)


@dataclass
class Broker:
    """One process of a broker: it appends to the stream of all events, and looks on."""

    process: Process
    stream: Stream

    async def append(self, *messages: Message | str, at: datetime | None = None) -> list[str]:
        """Append events, accepted now or at that time; return their stamps."""
        time = "" if at is None else f"{microseconds(at):014x}"
        outgoing = [
            Outgoing(
                message=encode(event(each)) if isinstance(each, str) else each,
                stamp=time + self.process.stamps.new()[len(time) :],
                routing_key=NAME,
            )
            for each in messages
        ]
        assert not await self.process.publishing.publish(outgoing)
        return [each.stamp for each in outgoing]

    async def publish(self, id: str, timestamp: datetime | None = None) -> None:
        """Publish an event as others do, without a stamp."""
        message = encode(event(id))
        channel = await self.process.link.open_channel(confirms=True)
        properties = spec.Basic.Properties(headers=dict(message.headers), timestamp=timestamp)
        await channel.basic_publish(b"{}", routing_key=NAME, properties=properties)
        await channel.close()

    async def history(
        self,
        *,
        since: datetime | None = None,
        after: str | None = None,
        id: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Stored]:
        history = RabbitmqHistory(self.stream)
        return await history.history(since=since, after=after, id=id, limit=limit)


@asynccontextmanager
async def broker(url: str) -> AsyncIterator[Broker]:
    async with process(url) as opened:
        stream = opened.stream()
        await stream.declare()
        yield Broker(opened, stream)


def told(found: Sequence[Stored]) -> list[str]:
    return [stored.event.id for stored in found]


FOREIGN = Message(body=b"no event", headers={"x": "y"}, content_type=None)


# --- looking back --------------------------------------------------------------------------


async def test_what_was_appended_is_told_with_when_it_was_accepted_and_without_its_payload(
    rabbitmq: str,
) -> None:
    whole = Event({**event("1").attributes, "flag": "true"}, b"{}", {"flag": "boolean"}, hops=3)
    async with broker(rabbitmq) as one, broker(rabbitmq) as other:
        stamps = await one.append(encode(whole), encode(whole, Notes(to="default/a")))

        found = await other.history()

    assert [stored.event for stored in found] == [whole.without_data()] * 2
    assert [stored.to for stored in found] == [None, "default/a"]
    assert [stored.at for stored in found] == [time_of(accepted_at(each) or 0) for each in stamps]
    assert [stored.position for stored in found] == ["0", "1"]


@pytest.mark.parametrize("limit", [1, 7, 30])
async def test_pages_have_every_event_once(rabbitmq: str, limit: int) -> None:
    async with broker(rabbitmq) as one, broker(rabbitmq) as other:
        await one.append(*(f"{number}" for number in range(20)))
        found: list[Stored] = []
        while page := await one.history(limit=limit, after=found[-1].position if found else None):
            assert len(page) <= limit
            found += page
            if len(found) == len(page):
                await other.append(*(f"{number}" for number in range(20, 25)))

        assert told(found) == [f"{number}" for number in range(25)]
        for number, stored in enumerate(found):
            assert await other.history(after=stored.position) == found[number + 1 :]


@pytest.mark.parametrize("position", ["", "x", "-1", "1:2", "\u0661", "9" * 19])
async def test_what_is_no_position_is_refused(rabbitmq: str, position: str) -> None:
    async with broker(rabbitmq) as one:
        with pytest.raises(ValueError, match="is not a position"):
            await one.history(after=position)


async def test_a_position_behind_the_end_is_one_behind_which_nothing_is(rabbitmq: str) -> None:
    async with broker(rabbitmq) as one:
        await one.append("1")

        assert await one.history(after="9" * 18) == []


async def test_the_history_begins_at_the_time_at_which_events_were_accepted(rabbitmq: str) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    async with broker(rabbitmq) as one:
        for seconds in (-30, -10, -20, 40, 0):  # as clocks of several processes may have it
            await one.append(f"{seconds}", at=now + timedelta(seconds=seconds))

        async def since(seconds: float) -> list[str]:
            return told(await one.history(since=now + timedelta(seconds=seconds)))

        assert await since(-30) == ["-30", "-10", "-20", "40", "0"]
        assert await since(-29.999999) == ["-10", "-20", "40", "0"]
        assert await since(-20) == ["-10", "-20", "40", "0"]
        assert await since(-15) == ["-10", "40", "0"]
        assert await since(0.000001) == await since(40) == ["40"]
        assert await since(50) == []
        assert len(await since(-1e9)) == len(await one.history(since=MOMENT)) == 5
        for year in (1, 1970):
            assert len(await one.history(since=datetime(year, 1, 1, tzinfo=UTC))) == 5
        assert await one.history(since=datetime(9999, 12, 31, 23, 59, tzinfo=UTC)) == []


async def test_pages_since_a_time_go_on_where_the_one_before_ended(rabbitmq: str) -> None:
    now = datetime.now(UTC)
    async with broker(rabbitmq) as one:
        for seconds in (-30, -10, -20, 0):
            await one.append(f"{seconds}", at=now + timedelta(seconds=seconds))
        since = now - timedelta(seconds=20)

        [first] = await one.history(since=since, limit=1)
        [second] = await one.history(since=since, limit=1, after=first.position)
        rest = await one.history(since=since, after=second.position)

    assert told([first, second, *rest]) == ["-10", "-20", "0"]


async def test_what_others_published_is_told_at_the_time_that_they_gave_or_that_before_it(
    rabbitmq: str,
) -> None:
    async with broker(rabbitmq) as one:
        await one.publish("first")
        await one.publish("timed", MOMENT)
        await one.publish("next")
        await one.append("ours", at=MOMENT + timedelta(hours=1))
        await one.publish("last")

        found = await one.history()
        [last] = await one.history(after=found[3].position)

    assert told(found) == ["first", "timed", "next", "ours", "last"]
    assert [stored.at - MOMENT for stored in found[1:]] == [
        timedelta(0), timedelta(0), timedelta(hours=1), timedelta(hours=1),
    ]  # fmt: skip
    assert found[0].at == datetime(1970, 1, 1, tzinfo=UTC)
    assert last == found[4]


async def test_one_id_is_found_among_thousands_of_events_however_they_were_encoded(
    rabbitmq: str,
) -> None:
    nested = event("x").with_attributes({"datacontenttype": "application/cloudevents+json"}, {})
    structured = encode(replace(nested, data=b"{}"))
    assert "ce-id" not in structured.headers
    async with broker(rabbitmq) as one:
        await one.append(structured)
        await one.append(*(f"{number}" for number in range(3_000)))
        await one.append("x")
        await one.publish("x")

        found = await one.history(id="x")

        assert told(found) == ["x"] * 3
        assert [int(stored.position) for stored in found] == [0, 3_001, 3_002]
        assert await one.history(id="x", limit=1) == found[:1]
        assert await one.history(id="x", after=found[0].position) == found[1:]
        assert await one.history(id="y") == []


async def test_what_is_no_cloudevent_is_left_out_and_hides_nothing(rabbitmq: str) -> None:
    async with broker(rabbitmq) as one:
        await one.append(*[FOREIGN] * 1_500, "1", FOREIGN)

        [found] = await one.history(limit=1)
        assert found.event.id == "1"
        assert await one.history(after=found.position) == []
        assert await one.history(id="1") == [found]


async def test_what_the_retention_removed_is_not_looked_for(rabbitmq: str) -> None:
    async with process(rabbitmq) as opened:
        stream = opened.stream()
        await stream.declare(max_bytes=100_000, segment_bytes=20_000)
        one = Broker(opened, stream)
        await one.append("first")
        [first] = await one.history()
        for hundreds in range(20):
            padded = [encode(event(f"{hundreds}/{n}", b"x" * 500)) for n in range(100)]
            await one.append(*padded)

        found = await one.history(limit=3_000)

        assert 100 <= len(found) < 1_000
        assert found[-1].event.id == "19/99"
        assert await one.history(after=first.position, limit=3_000) == found
        assert await one.history(since=first.at, limit=3_000) == found


async def test_an_outage_is_told_and_over_when_rabbitmq_is_back(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    async with broker(rabbitmq_relay.in_url(rabbitmq)) as one:
        await one.append("1")
        assert told(await one.history()) == ["1"]
        with rabbitmq_relay.cut():
            await until(lambda: one.process.link.trouble is not None)
            with pytest.raises(ChannelUnavailable):
                await one.history()

        await until(lambda: one.process.link.trouble is None)
        assert told(await one.history()) == ["1"]


# --- following -----------------------------------------------------------------------------


async def seen(events: AsyncIterator[Event], count: int) -> Sequence[str]:
    """Return the ids of the next events."""
    async with asyncio.timeout(SOON):
        return [(await anext(events)).id for _ in range(count)]


async def test_what_is_appended_from_now_on_is_seen_whoever_appends_it(rabbitmq: str) -> None:
    async with broker(rabbitmq) as one, broker(rabbitmq) as other, Tailing(one.stream) as tailing:
        async with tailing.tail() as events:
            await other.append("1")
            assert await seen(events, 1) == ["1"]

        await other.append("meanwhile")
        async with tailing.tail() as events:
            await one.append("2", FOREIGN, "3")

            assert await seen(events, 2) == ["2", "3"]


class Watched(Stream):
    """A stream that knows how many consumers follow it."""

    followed = 0

    @asynccontextmanager
    async def follow(self, start: int | None) -> AsyncIterator[AsyncIterator[Entry]]:
        self.followed += 1
        try:
            async with super().follow(start) as entries:
                yield entries
        finally:
            self.followed -= 1


async def test_many_who_follow_share_a_consumer_that_is_closed_when_nobody_does(
    rabbitmq: str,
) -> None:
    async with broker(rabbitmq) as one:
        stream = Watched(one.process.link, NAME)
        async with Tailing(stream) as tailing:
            async with tailing.tail() as first:
                async with tailing.tail() as second, tailing.tail() as third:
                    await one.append("1")
                    for each in (first, second, third):
                        assert await seen(each, 1) == ["1"]
                    assert stream.followed == 1
                await one.append("2")
                assert await seen(first, 1) == ["2"]
            await until(lambda: stream.followed == 0)


class Late(Stream):
    """A stream whose entries arrive late."""

    def __init__(self, link: Link, name: str) -> None:
        super().__init__(link, name)
        self.flows = asyncio.Event()

    @asynccontextmanager
    async def follow(self, start: int | None) -> AsyncIterator[AsyncIterator[Entry]]:
        async with super().follow(start) as entries:
            yield self._late(entries)

    async def _late(self, entries: AsyncIterator[Entry]) -> AsyncIterator[Entry]:
        async for entry in entries:
            await self.flows.wait()
            yield entry


async def test_nobody_is_shown_what_came_before_they_followed_however_late_it_is_read(
    rabbitmq: str,
) -> None:
    async with broker(rabbitmq) as one:
        stream = Late(one.process.link, NAME)
        async with Tailing(stream) as tailing, tailing.tail() as first:
            await one.append("1")
            async with tailing.tail() as second:
                await one.append("2")
                stream.flows.set()

                assert await seen(second, 1) == ["2"]
                assert await seen(first, 2) == ["1", "2"]


async def test_an_observer_that_is_slow_misses_events_and_goes_on(rabbitmq: str) -> None:
    async with (
        broker(rabbitmq) as one,
        Tailing(one.stream) as tailing,
        tailing.tail() as slow,
        tailing.tail() as quick,
    ):
        for hundreds in range(15):
            await one.append(*(f"{hundreds}/{number}" for number in range(100)))
            await seen(quick, 100)

        first = await seen(slow, 1_000)
        await one.append("next")

        assert first == [f"{hundreds}/{number}" for hundreds in range(10) for number in range(100)]
        assert await seen(slow, 1) == ["next"]


async def test_an_outage_is_sat_out_and_nothing_is_missed_or_seen_twice(
    rabbitmq: str, rabbitmq_relay: Relay
) -> None:
    async with (
        broker(rabbitmq_relay.in_url(rabbitmq)) as one,
        broker(rabbitmq) as other,
        Tailing(one.stream) as tailing,
        tailing.tail() as events,
    ):
        with rabbitmq_relay.cut():
            await other.append("1")
        assert await seen(events, 1) == ["1"]
        with rabbitmq_relay.cut():
            await other.append("2", "3")
            with pytest.raises(ChannelUnavailable):
                async with tailing.tail():
                    pass
        await other.append("4")

        assert await seen(events, 3) == ["2", "3", "4"]


async def test_a_stream_that_somebody_deletes_is_followed_again_when_it_is_made_anew(
    rabbitmq: str,
) -> None:
    async with (
        broker(rabbitmq) as one,
        broker(rabbitmq) as other,
        Tailing(one.stream) as tailing,
        tailing.tail() as events,
    ):
        await other.append("1", "2")
        assert await seen(events, 2) == ["1", "2"]
        await delete(other.process)
        await one.stream.declare()
        await other.append("3")

        assert await seen(events, 1) == ["3"]
