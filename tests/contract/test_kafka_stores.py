"""The stores that the Kafka channel keeps in compacted topics, on a real Kafka."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from broker.channels.kafka.deadletters import KafkaDeadLetters, dead_letter_topic
from broker.channels.kafka.fetching import Fetching
from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import ClientOptions, Settings
from broker.channels.kafka.state import StateTopic, state_topic
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Record
from broker.errors import ChannelUnavailable
from broker.event import Event
from broker.ports import Refusal
from tests.services.kafka.server import KafkaServer

SOON = 30.0

RESTLESS: Mapping[str, str] = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
}
"""The configuration of a topic that is compacted as soon as that can be."""

# aiokafka forgets a connection that it was opening when it is told to close.
abandons_connections = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


def client(address: str) -> ClientOptions:
    return Settings(
        bootstrap_servers=(address,), topic="any", base="any", group="any"
    ).client_options()


async def new_topic(address: str, config: Mapping[str, str]) -> str:
    topic = f"store-{uuid.uuid4()}"
    await ensure_topic(client(address), topic, partitions=1, replication_factor=1, config=config)
    return topic


async def records(address: str, topic: str) -> Sequence[tuple[str, bytes | None]]:
    """Return the keys and values that are in the topic now."""
    partition = TopicPartition(topic, 0)
    found: list[tuple[str, bytes | None]] = []
    async with AIOKafkaConsumer(**client(address), auto_offset_reset="earliest") as consumer:
        consumer.assign([partition])
        (end,) = (await consumer.end_offsets([partition])).values()
        while await consumer.position(partition) < end:
            batches = await consumer.getmany(timeout_ms=100)
            found += [
                (each.key.decode(errors="replace"), each.value)
                for each in batches.get(partition, ())
            ]
    return found


# --- states --------------------------------------------------------------------------------


@dataclass
class Dispatcher:
    """One process of several: a state topic, what it was told of, and what it has appended."""

    producing: Producing
    told: list[tuple[str, bytes | None]] = field(default_factory=list)
    appended: list[Sequence[Record]] = field(default_factory=list)
    state: StateTopic = field(init=False)

    async def append(self, topic: str, records: Sequence[Record]) -> None:
        await self.producing.append(topic, records)
        self.appended.append(records)

    def note(self, key: str, value: bytes | None) -> None:
        self.told.append((key, value))


@asynccontextmanager
async def dispatcher(address: str, topic: str) -> AsyncIterator[Dispatcher]:
    async with Producing(client(address)) as producing:
        it = Dispatcher(producing)
        it.state = StateTopic(topic, it.append, client(address), on_change=it.note)
        async with it.state:
            yield it


async def test_what_one_writes_all_others_know(kafka: str) -> None:
    topic = await new_topic(kafka, state_topic({}))
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        await one.state.write({"a/1": b"x", "a/2": b"\xff\x00", "b/1": b""}, epoch=1)
        assert one.state.get("a/1") == b"x"
        await one.state.write({"a/1": None}, epoch=1)

        await other.state.caught_up()

        assert other.state.items("a/") == one.state.items("a/") == {"a/2": b"\xff\x00"}
        assert other.state.get("b/1") == b""
        assert other.state.get("a/1") is None
        assert other.told == [("a/1", b"x"), ("a/2", b"\xff\x00"), ("b/1", b""), ("a/1", None)]
        assert one.told == []

    async with dispatcher(kafka, topic) as later:
        assert later.state.items() == {"a/2": b"\xff\x00", "b/1": b""}
        assert later.told == []


async def test_who_has_caught_up_knows_all_that_was_written_before(kafka: str) -> None:
    topic = await new_topic(kafka, state_topic({}))
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        for number in range(50):
            await one.state.write({"a": b"%d" % number}, epoch=1)
            await other.state.caught_up()
            assert other.state.get("a") == b"%d" % number


async def test_writes_at_the_same_time_share_batches_and_keep_their_order(kafka: str) -> None:
    topic = await new_topic(kafka, state_topic({}))
    async with dispatcher(kafka, topic) as one, asyncio.TaskGroup() as tasks:
        for number in range(100):
            changes = {"last": b"%d" % number, f"{number:03d}": b""}
            tasks.create_task(one.state.write(changes, epoch=1))

    assert len(one.appended) < 5
    written = await records(kafka, topic)
    assert [key for key, _ in written if key != "last"] == [f"{each:03d}" for each in range(100)]
    assert written[-2] == ("last", b"99")


async def test_one_that_is_cancelled_takes_no_other_write_with_it(kafka: str) -> None:
    topic = await new_topic(kafka, state_topic({}))
    async with dispatcher(kafka, topic) as one:
        tasks = [
            asyncio.create_task(one.state.write({f"{number}": b""}, epoch=1))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        for task in tasks[:5]:
            task.cancel()
        await asyncio.wait(tasks)

        assert [task.cancelled() for task in tasks] == [True] * 5 + [False] * 5
        assert {f"{number}" for number in range(5, 10)} <= set(one.state.items())

    assert {f"{number}" for number in range(5, 10)} <= {
        key for key, _ in await records(kafka, topic)
    }


async def test_a_former_owner_is_told_so_and_changes_nothing(kafka: str) -> None:
    topic = await new_topic(kafka, state_topic({}))
    async with dispatcher(kafka, topic) as former, dispatcher(kafka, topic) as owner:
        await former.state.write({"a": b"old", "b": b"old"}, epoch=4)
        await owner.state.caught_up()
        await owner.state.write({"a": b"new"}, epoch=5)
        await former.state.caught_up()

        assert await former.state.write({"a": b"late", "b": b"still mine"}, epoch=4) == {"a"}

        assert former.state.items() == {"a": b"new", "b": b"still mine"}
        assert (owner.state.epoch("a"), owner.state.epoch("b"), owner.state.epoch("c")) == (
            5,
            4,
            -1,
        )


async def test_a_former_owner_that_writes_late_does_not_win_even_after_compaction(
    kafka: str,
) -> None:
    topic = await new_topic(kafka, RESTLESS)
    async with dispatcher(kafka, topic) as former, dispatcher(kafka, topic) as owner:
        await former.state.write({"a": b"old", "b": b"old"}, epoch=4)
        await owner.state.caught_up()
        await owner.state.write({"a": b"new", "b": None}, epoch=5)

        await former.producing.append(topic, former.appended[0])

        async with asyncio.timeout(SOON):
            while (await records(kafka, topic))[-2:] != [("a", b"new"), ("b", None)]:
                await asyncio.sleep(0.1)
        assert owner.state.items() == former.state.items() == {"a": b"new"}
        assert owner.told == [("a", b"old"), ("b", b"old")]
        await compacted(kafka, topic, owner)

    async with dispatcher(kafka, topic) as later:
        assert later.state.items("a") == {"a": b"new"}


async def compacted(address: str, topic: str, by: Dispatcher) -> None:
    """Return once no key is there twice, but for those that are written to move things on."""
    async with asyncio.timeout(40):
        while True:
            await by.state.write({"move on": b""}, epoch=0)
            keys = [key for key, _ in await records(address, topic) if key != "move on"]
            if len(keys) == len(set(keys)):
                return
            await asyncio.sleep(0.5)


async def test_after_a_compaction_everything_is_as_it_was(kafka: str) -> None:
    topic = await new_topic(kafka, RESTLESS)
    async with dispatcher(kafka, topic) as one:
        for number in range(20):
            await one.state.write({f"{each}": b"%d" % number for each in range(10)}, epoch=1)
        await one.state.write({"0": None}, epoch=1)
        await compacted(kafka, topic, one)
        await one.state.write({"move on": None}, epoch=1)

    async with dispatcher(kafka, topic) as later:
        assert later.state.items() == {f"{each}": b"19" for each in range(1, 10)}


@abandons_connections
@pytest.mark.timeout(180)
async def test_an_outage_is_sat_out_or_left_and_nothing_is_lost(kafka_server: KafkaServer) -> None:
    with kafka_server:
        address = kafka_server.address
        topic = await new_topic(address, state_topic({}))
        async with dispatcher(address, topic) as one, dispatcher(address, topic) as other:
            await one.state.write({"a": b"before"}, epoch=1)
            await other.state.caught_up()
            kafka_server.kill()

            with pytest.raises(ChannelUnavailable):
                await one.state.write({"a": b"during"}, epoch=1)
            with pytest.raises(ChannelUnavailable):
                await other.state.caught_up()
            with pytest.raises(ChannelUnavailable):
                async with StateTopic(topic, one.append, client(address)):
                    pass
            assert one.state.get("a") == other.state.get("a") == b"before"

            await asyncio.to_thread(kafka_server.start)
            await eventually(one, {"a": b"after"})
            async with asyncio.timeout(SOON):
                while other.state.get("a") != b"after":
                    await asyncio.sleep(0.05)
            await other.state.caught_up()

            kafka_server.kill()
            with pytest.raises(ChannelUnavailable):
                await one.state.caught_up()


async def eventually(it: Dispatcher, changes: Mapping[str, bytes | None]) -> None:
    """Write, again and again until that is possible."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await it.state.write(changes, epoch=1)
            except ChannelUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


# --- dead letters --------------------------------------------------------------------------

A, B = "default/a", "default/b"

WHY = Refusal(
    destination="http://a/", reason="answered 500", status=500, body=b"\xff\x00", attempts=3
)


def event(id: str, data: bytes | None = None) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/test", "type": "order"}, data)


@asynccontextmanager
async def dead_letters(address: str, topic: str) -> AsyncIterator[KafkaDeadLetters]:
    async with (
        Producing(client(address)) as producing,
        KafkaDeadLetters(topic, producing.append, client(address)) as store,
    ):
        yield store


async def buried(
    store: KafkaDeadLetters, trigger: str | None = None, after: str | None = None, limit: int = 100
) -> Sequence[str]:
    letters = await store.list(trigger=trigger, after=after, limit=limit)
    return [letter.event.id for letter in letters]


async def test_a_dead_letter_has_its_event_as_it_was_and_why_it_was_given_up(kafka: str) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    attributes = {**event("1").attributes, "flag": "true", "partitionkey": "ü"}
    whole = Event(attributes, b'{"a": 1,  "a": 2}', {"flag": "boolean"}, hops=3)
    async with dead_letters(kafka, topic) as store:
        await store.bury(A, whole, WHY)
        await store.bury(A, event("2", None), WHY)
        await store.bury(A, event("3", b""), WHY)

    async with dead_letters(kafka, topic) as store:
        first, *rest = await store.list()

    assert first.event == whole
    assert (first.trigger, first.why) == (A, WHY)
    assert abs(datetime.now(UTC) - first.buried_at) < timedelta(seconds=SOON)
    assert [letter.event.data for letter in rest] == [None, b""]


async def test_dead_letters_are_listed_in_pages_oldest_first(kafka: str) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    async with dead_letters(kafka, topic) as store:
        for number in range(5):
            await store.bury(A, event(f"a{number}"), WHY)
            await store.bury(B, event(f"b{number}"), WHY)

        page = await store.list(trigger=B, limit=2)
        rest = await store.list(trigger=B, after=page[-1].id)

        assert [letter.event.id for letter in page] == ["b0", "b1"]
        assert [letter.event.id for letter in rest] == ["b2", "b3", "b4"]
        assert await buried(store, after=rest[0].id, limit=3) == ["a3", "b3", "a4"]
        assert await buried(store, trigger="default/none") == []
        assert await buried(store, trigger="default") == []
        assert await buried(store, after="nonsense") == await buried(store)
        assert len({len(letter.id) for letter in [*page, *rest]}) == 1


async def test_what_one_process_buries_and_removes_another_sees_at_once(kafka: str) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    async with dead_letters(kafka, topic) as one, dead_letters(kafka, topic) as other:
        assert await other.list() == []
        for number in range(3):
            await one.bury(A, event(f"{number}"), WHY)
            assert len(await other.list()) == number + 1
        first, second, third = await other.list()

        assert await other.get(second.id) == second
        assert await one.remove([first.id, third.id, first.id, "nonsense", "0" * 16 + "9"]) == 2

        assert await other.list() == await one.list() == [second]
        assert await other.get(first.id) is await one.get(first.id) is None
        assert await other.remove([first.id]) == 0


async def test_a_delivery_that_is_buried_again_is_there_once(kafka: str) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    async with dead_letters(kafka, topic) as store:
        for trigger, delivery in ((A, "0-7"), (B, "0-7"), (A, "0-8"), (A, "0-7")):
            await store.bury(trigger, event(delivery), WHY, delivery=delivery)

        assert [(each.trigger, each.event.id) for each in await store.list()] == [
            (B, "0-7"),
            (A, "0-8"),
            (A, "0-7"),
        ]


async def test_what_is_left_after_a_compaction_can_be_read(kafka: str) -> None:
    topic = await new_topic(kafka, {**dead_letter_topic({}), **RESTLESS})
    async with dead_letters(kafka, topic) as store, dead_letters(kafka, topic) as other:
        for number in range(30):
            await store.bury(A, event(f"{number}", b"x" * number), WHY)
        letters = await other.list()
        await store.remove([letter.id for letter in letters if letter.event.id not in "3579"])
        await gone(kafka, topic, store)

        for each in (store, other):
            assert await buried(each, trigger=A) == ["3", "5", "7", "9"]
            assert await each.get(letters[4].id) is None

    # One that lists while another removes asks for records that are there no more.
    fetching = Fetching(topic, client(kafka))
    found = await fetching.records(range(len(letters)))
    await fetching.close()
    assert [f"{record.offset:016d}" for record in found] == [
        letter.id for letter in letters if letter.event.id in "3579"
    ]

    async with dead_letters(kafka, topic) as later:
        assert [letter.event.data for letter in await later.list(trigger=A)] == [
            b"x" * number for number in (3, 5, 7, 9)
        ]


async def gone(address: str, topic: str, store: KafkaDeadLetters) -> None:
    """Return once nothing is left of what was removed, but for the removals."""
    async with asyncio.timeout(40):
        while True:
            await store.bury("move/on", event("on"), WHY, delivery="-")
            values = [value for key, value in await records(address, topic) if key.startswith(A)]
            if len([value for value in values if value is not None]) == 4:
                return
            await asyncio.sleep(0.5)


async def test_an_event_as_large_as_any_can_be_buried(kafka: str) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    largest = event("1", b"x" * (1_048_588 - 200))
    async with dead_letters(kafka, topic) as store:
        await store.bury(A, largest, replace(WHY, body=b"y" * 1024))

        (letter,) = await store.list()

    assert letter.event == largest


async def test_a_record_that_is_no_dead_letter_hides_no_other(
    kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await new_topic(kafka, dead_letter_topic({}))
    async with Producing(client(kafka)) as producing, dead_letters(kafka, topic) as store:
        await producing.append(topic, [Record(key=b"\xff", value=b"?", headers=[])])
        await store.bury(A, event("1"), WHY)
        await producing.append(topic, [Record(key=b"gone", value=None, headers=[])])

        assert await buried(store, limit=1) == ["1"]
        assert await store.get("0" * 16) is None

    assert caplog.records[0].getMessage() == "dead letter not readable"


@abandons_connections
@pytest.mark.timeout(180)
async def test_dead_letters_outlive_an_outage(kafka_server: KafkaServer) -> None:
    with kafka_server:
        address = kafka_server.address
        topic = await new_topic(address, dead_letter_topic({}))
        async with dead_letters(address, topic) as store, dead_letters(address, topic) as other:
            await store.bury(A, event("1"), WHY)
            (letter,) = await store.list()
            kafka_server.kill()

            with pytest.raises(ChannelUnavailable):
                await store.bury(A, event("2"), WHY, delivery="2")
            for each in (store, other):
                with pytest.raises(ChannelUnavailable):
                    await each.list()
            with pytest.raises(ChannelUnavailable):
                await store.remove([letter.id])

            await asyncio.to_thread(kafka_server.start)
            await healed(store)
            for each in (store, other):
                assert await buried(each) == ["1", "2"]
                assert await each.get(letter.id) == letter


async def healed(store: KafkaDeadLetters) -> None:
    """Bury, again and again until that is possible, and wait for what can be listed."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await store.bury(A, event("2"), WHY, delivery="2")
                await store.list()
            except ChannelUnavailable:
                await asyncio.sleep(0.1)
            else:
                return
