"""Looking back over the partitions of a broker's topic, on a real Kafka."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from broker.channels.kafka.history import KafkaHistory
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Notes, Record, encode
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Stored
from tests.contract.kafka import add_partitions
from tests.services.relay import Relay

MOMENT = datetime(2026, 1, 31, 12, tzinfo=UTC)

FOREIGN = Record(key=None, value=b"no event", headers=[("x", b"y")])


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


def event(id: str, data: bytes | None = None) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/", "type": "order"}, data)


async def new_topic(address: str, partitions: int) -> str:
    topic = f"history-{uuid4()}"
    any_time = str((1 << 63) - 1)
    config = {
        "retention.ms": "-1",  # the times of the tests are long ago
        "message.timestamp.before.max.ms": any_time,
        "message.timestamp.after.max.ms": any_time,
    }
    await ensure_topic(
        options(address), topic, partitions=partitions, replication_factor=1, config=config
    )
    return topic


Sent = tuple[int, float, Record]
"""The partition, the time in milliseconds behind the moment, and what is written."""


async def write(address: str, topic: str, *records: Sent) -> None:
    async with AIOKafkaProducer(bootstrap_servers=address, linger_ms=20) as producer:
        sent = [
            await producer.send(
                topic,
                each.value,
                key=each.key,
                headers=each.headers,
                partition=partition,
                timestamp_ms=round(MOMENT.timestamp() * 1000 + time),
            )
            for partition, time, each in records
        ]
        for each in sent:
            await each


async def write_events(address: str, topic: str, *events: tuple[int, float, str]) -> None:
    await write(
        address,
        topic,
        *((partition, time, encode(event(name))) for partition, time, name in events),
    )


@asynccontextmanager
async def looking_back(address: str, topic: str) -> AsyncIterator[KafkaHistory]:
    async with (
        Offsets(options(address)) as offsets,
        KafkaHistory(options(address), topic, offsets) as history,
    ):
        yield history


def told(found: Sequence[Stored]) -> list[str]:
    return [stored.event.id for stored in found]


async def test_the_partitions_are_merged_by_time(kafka: str) -> None:
    topic = await new_topic(kafka, 3)
    await write_events(kafka, topic, (0, 0, "a"), (0, 3, "d"), (1, 1, "b"), (2, 2, "c"))
    await write_events(kafka, topic, (2, 4, "e"), (0, 5, "f"))

    async with looking_back(kafka, topic) as history:
        found = await history.history()
        assert told(found) == ["a", "b", "c", "d", "e", "f"]
        assert told(await history.history(limit=4)) == ["a", "b", "c", "d"]

    assert [stored.at - MOMENT for stored in found] == [
        timedelta(milliseconds=number, microseconds=999) for number in range(6)
    ]


async def test_what_was_stored_is_told_without_its_payload(kafka: str) -> None:
    topic = await new_topic(kafka, 1)
    whole = Event({**event("1").attributes, "flag": "true"}, b"{}", {"flag": "boolean"}, hops=3)
    await write(kafka, topic, (0, 0, encode(whole)), (0, 0, encode(whole, Notes(to="default/a"))))

    async with looking_back(kafka, topic) as history:
        found = await history.history()

    assert [stored.event for stored in found] == [whole.without_data()] * 2
    assert [stored.to for stored in found] == [None, "default/a"]


async def test_an_event_that_seems_older_than_the_one_before_it_comes_behind_that(
    kafka: str,
) -> None:
    topic = await new_topic(kafka, 2)
    await write_events(kafka, topic, (0, 10, "a"), (0, -5_000, "b"), (0, 11, "c"))
    await write_events(kafka, topic, (1, 0, "x"), (1, 12, "y"))

    async with looking_back(kafka, topic) as history:
        assert told(await history.history()) == ["x", "a", "b", "c", "y"]


@pytest.mark.parametrize("limit", [1, 7, 100])
async def test_pages_have_every_event_once_whatever_the_clocks_said(kafka: str, limit: int) -> None:
    topic = await new_topic(kafka, 3)
    chance = random.Random(limit)
    sent = [(chance.randrange(3), chance.randrange(-50, 50), f"{n:03}") for n in range(100)]
    await write_events(kafka, topic, *sent)

    found: list[Stored] = []
    async with looking_back(kafka, topic) as history:
        while page := await history.history(
            limit=limit, after=found[-1].position if found else None
        ):
            found += page
            if len(found) == 2 * limit:
                await write_events(kafka, topic, (2, -100, "later"))
                sent.append((2, -100, "later"))

    assert sorted(told(found)) == sorted(name for *_, name in sent)
    for partition in range(3):
        mine = [name for number, _, name in sent if number == partition]
        assert [name for name in told(found) if name in mine] == mine


async def test_every_event_has_a_position_to_go_on_from(kafka: str) -> None:
    topic = await new_topic(kafka, 3)
    chance = random.Random(0)
    sent = [(chance.randrange(3), chance.randrange(50), f"{n}") for n in range(30)]
    await write_events(kafka, topic, *sent)

    async with looking_back(kafka, topic) as history:
        everything = await history.history()
        for number, stored in enumerate(everything):
            rest = told(await history.history(after=stored.position))
            assert sorted(rest) == sorted(told(everything[number + 1 :]))


async def test_a_partition_that_is_added_between_pages_is_read_from_its_start(kafka: str) -> None:
    topic = await new_topic(kafka, 1)
    await write_events(kafka, topic, (0, 0, "a"), (0, 10, "b"))
    async with looking_back(kafka, topic) as history:
        [first] = await history.history(limit=1)
        await add_partitions(kafka, topic, total=2)
        await write_events(kafka, topic, (1, 5, "new"))

        assert told(await history.history(after=first.position)) == ["new", "b"]


async def test_the_history_begins_at_a_time_in_every_partition(kafka: str) -> None:
    topic = await new_topic(kafka, 3)
    await write_events(kafka, topic, (0, 0, "a"), (0, 2, "b"), (1, 1, "c"), (1, 3, "d"))
    await write_events(kafka, topic, (0, -9, "late, by a clock that was put back"), (0, 4, "e"))

    async def since(microseconds: int) -> list[str]:
        time = MOMENT + timedelta(microseconds=microseconds)
        return told(await history.history(since=time))

    async with looking_back(kafka, topic) as history:
        assert await since(1_000) == ["c", "b", "d", "e"]
        assert await since(1_999) == ["c", "b", "d", "e"]
        assert await since(2_000) == ["b", "d", "e"]
        assert await since(3_000) == ["d", "e"]
        assert await since(5_000) == []
        page = await history.history(since=MOMENT + timedelta(milliseconds=1), limit=2)
        assert told(
            await history.history(since=MOMENT + timedelta(milliseconds=1), after=page[-1].position)
        ) == ["d", "e"]


async def test_what_is_before_that_time_is_not_read(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = await new_topic(kafka, 1)
    await write_events(kafka, topic, *((0, number, f"{number}") for number in range(100)))
    async with looking_back(kafka, topic) as history:
        asked: list[int] = []
        read = history._logs.read_written

        def noted(partition: TopicPartition, offset: int) -> object:
            asked.append(offset)
            return read(partition, offset)

        monkeypatch.setattr(history._logs, "read_written", noted)

        assert told(await history.history(since=MOMENT + timedelta(milliseconds=98))) == [
            "98",
            "99",
        ]

    assert asked == [98]


class Overtaken(Offsets):
    """Kafka, in which something is appended as soon as its end was told."""

    def __init__(self, address: str) -> None:
        super().__init__(options(address))
        self._address = address

    async def ends(self, topic: str) -> Mapping[int, int]:
        found = await super().ends(topic)
        await write_events(self._address, topic, (0, 1, "later"))
        return found


async def test_a_page_ends_where_the_log_ended_when_it_was_asked_for(kafka: str) -> None:
    topic = await new_topic(kafka, 1)
    await write_events(kafka, topic, (0, 0, "a"))
    async with (
        Overtaken(kafka) as offsets,
        KafkaHistory(options(kafka), topic, offsets) as history,
    ):
        assert told(await history.history()) == ["a"]
        assert told(await history.history()) == ["a", "later"]


async def test_the_end_of_an_event_s_millisecond_is_not_too_late_to_begin_with_it(
    kafka: str,
) -> None:
    topic = await new_topic(kafka, 1)
    await write_events(kafka, topic, (0, 0, "a"))

    async with looking_back(kafka, topic) as history:
        [stored] = await history.history()

        assert told(await history.history(since=stored.at)) == ["a"]
        assert await history.history(since=stored.at + timedelta(microseconds=1)) == []


async def test_one_id_is_found_in_any_partition_among_thousands_of_events(kafka: str) -> None:
    topic = await new_topic(kafka, 2)
    nested = event("x").with_attributes({"datacontenttype": "application/cloudevents+json"}, {})
    structured = encode(replace(nested, data=b"{}"))
    assert dict(structured.headers).keys() == {"content-type"}
    await write(kafka, topic, (1, 0, structured))
    others = [(number % 2, number, f"{number}") for number in range(3_000)]
    await write_events(kafka, topic, *others, (1, 4_000, "x"), (0, 3_999, "x"))

    async with looking_back(kafka, topic) as history:
        found = await history.history(id="x")
        assert told(found) == ["x"] * 3
        assert [stored.at for stored in found] == sorted(stored.at for stored in found)
        [first] = await history.history(id="x", limit=1)
        assert await history.history(id="x", after=first.position) == found[1:]
        assert await history.history(id="y") == []


async def test_what_is_no_cloudevent_is_left_out_and_hides_nothing(kafka: str) -> None:
    topic = await new_topic(kafka, 1)
    foreign = [(0, 0.0, FOREIGN)] * 3_000
    await write(kafka, topic, *foreign, (0, 0, encode(event("1"))), (0, 0, FOREIGN))

    async with looking_back(kafka, topic) as history:
        [found] = await history.history(limit=1)
        assert found.event.id == "1"
        assert await history.history(after=found.position) == []


async def test_what_the_retention_removed_is_not_looked_for(kafka: str) -> None:
    topic = await new_topic(kafka, 2)
    await write_events(kafka, topic, *((0, number, f"{number}") for number in range(10)))
    async with looking_back(kafka, topic) as history:
        [first] = await history.history(limit=1)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=8)})

        assert told(await history.history()) == ["8", "9"]
        assert told(await history.history(after=first.position)) == ["8", "9"]

        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=10)})
        await admin.close()
        assert await history.history() == []


async def test_a_time_that_nobody_can_mean_stops_nobody(kafka: str) -> None:
    topic = await new_topic(kafka, 1)
    await write_events(kafka, topic, (0, 1e17, "a"), (0, 0, "b"))

    async with looking_back(kafka, topic) as history:
        found = await history.history()

    assert told(found) == ["a", "b"]
    assert [stored.at.year for stored in found] == [9999, 2026]


async def test_an_outage_is_told_and_over_when_kafka_is_back(
    kafka: str, kafka_relay: Relay
) -> None:
    topic = await new_topic(kafka, 2)
    await write_events(kafka, topic, (0, 0, "a"), (1, 1, "b"))
    async with looking_back(kafka_relay.address, topic) as history:
        assert told(await history.history()) == ["a", "b"]
        with kafka_relay.cut(), pytest.raises(ChannelUnavailable):
            await history.history()

        assert told(await history.history()) == ["a", "b"]


async def test_a_position_that_is_none_is_refused_before_kafka_is_asked(kafka: str) -> None:
    async with looking_back(kafka, "nowhere") as history:
        with pytest.raises(ValueError, match="'12' is not a position"):
            await history.history(after="12")
