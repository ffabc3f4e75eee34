"""Where triggers begin that are new, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from broker.channels.kafka.beginnings import Beginnings
from broker.channels.kafka.offsets import Offsets
from broker.channels.kafka.producing import Producing
from broker.channels.kafka.settings import ClientOptions, from_url, settings
from broker.channels.kafka.state import StateTopic, state_topic
from broker.channels.kafka.topics import ensure_topic
from broker.codecs.kafka import Record
from broker.errors import ChannelUnavailable
from tests.services.relay import Relay

TRIGGER = "default/audit"

Meanwhile = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """What happens meanwhile, mostly."""


class Measuring(Offsets):
    """Lets something happen before and after the ends are measured."""

    before: Meanwhile = staticmethod(nothing)
    behind: Meanwhile = staticmethod(nothing)
    times = 0

    async def ends(self, topic: str) -> Mapping[int, int]:
        self.times += 1
        await self.before()
        found = await super().ends(topic)
        await self.behind()
        return found


class CatchingUp(StateTopic):
    """Lets something happen after it was read what others wrote.

    Once it is ``slow``, it knows only what was written before it caught up.
    """

    behind: Meanwhile = staticmethod(nothing)
    times = 0
    slow = False
    known: Mapping[str, bytes] = {}

    async def caught_up(self) -> None:
        self.times += 1
        await super().caught_up()
        self.known = dict(self.items())
        await self.behind()

    def get(self, key: str) -> bytes | None:
        return self.known.get(key) if self.slow else super().get(key)


@dataclass(frozen=True, kw_only=True)
class Dispatcher:
    """One process of several."""

    topic: str
    producing: Producing
    offsets: Measuring
    state: CatchingUp
    written: list[Sequence[Record]]
    beginnings: Beginnings

    async def append(self, events: int = 1) -> None:
        for _ in range(events):
            await self.producing.append(self.topic, [Record(key=None, value=b"", headers=[])])


def options(address: str) -> ClientOptions:
    defaults = from_url(f"kafka://{address}")
    return settings("default/default", {}, {}, defaults=defaults).client_options()


@asynccontextmanager
async def dispatcher(address: str, topic: str) -> AsyncIterator[Dispatcher]:
    written: list[Sequence[Record]] = []
    async with Producing(options(address)) as producing, Measuring(options(address)) as offsets:

        async def append(topic: str, records: Sequence[Record]) -> None:
            written.append(records)
            await producing.append(topic, records)

        async with CatchingUp(f"{topic}-state", append, options(address)) as state:
            yield Dispatcher(
                topic=topic,
                producing=producing,
                offsets=offsets,
                state=state,
                written=written,
                beginnings=Beginnings(state, offsets, topic),
            )


@pytest.fixture
async def topic(kafka: str) -> str:
    """A topic of events of one partition, and beside it one of states."""
    name = f"beginnings-{uuid4()}"
    for each, config in ((name, {}), (f"{name}-state", state_topic({}))):
        await ensure_topic(options(kafka), each, partitions=1, replication_factor=1, config=config)
    return name


async def test_a_new_trigger_begins_where_the_partitions_end_and_stays_with_that(
    kafka: str, topic: str
) -> None:
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        await one.append(5)
        assert await one.beginnings.of(TRIGGER) == {0: 5}
        await one.append(2)

        assert await one.beginnings.of(TRIGGER) == {0: 5}
        assert await other.beginnings.of(TRIGGER) == {0: 5}
        assert await other.beginnings.of("default/else") == {0: 7}

    async with dispatcher(kafka, topic) as later:
        assert await later.beginnings.of(TRIGGER) == {0: 5}


async def test_for_a_trigger_that_is_known_nothing_is_asked(kafka_relay: Relay, topic: str) -> None:
    async with dispatcher(kafka_relay.address, topic) as one:
        begins = await one.beginnings.of(TRIGGER)

        with kafka_relay.cut():
            assert await one.beginnings.of(TRIGGER) == begins


@pytest.mark.parametrize("moment", ["before measuring", "having measured", "having read"])
async def test_nothing_is_missed_where_two_meet_a_trigger_at_once(
    kafka: str, topic: str, moment: str
) -> None:
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:

        async def meanwhile() -> None:
            """Let the other one subscribe the trigger, and append an event that is for it."""
            one.state.slow = True
            one.offsets.before = one.offsets.behind = one.state.behind = nothing
            await other.append(5)
            assert await other.beginnings.of(TRIGGER) == {0: 5}
            await other.append()

        match moment:
            case "before measuring":
                one.offsets.before = meanwhile
            case "having measured":
                one.offsets.behind = meanwhile
            case _:
                one.state.behind = meanwhile

        assert (await one.beginnings.of(TRIGGER))[0] <= 5

        one.state.slow = False
        unaware = moment == "having read"
        assert len(one.written) == unaware
        assert len(epochs(one.written + other.written)) == 1 + unaware
        await asyncio.gather(one.state.caught_up(), other.state.caught_up())
        told = [await each.beginnings.of(TRIGGER) for each in (one, other)]
    async with dispatcher(kafka, topic) as later:
        told.append(await later.beginnings.of(TRIGGER))
    assert told[0][0] <= 5
    assert told == [told[0]] * 3


def epochs(written: Sequence[Sequence[Record]]) -> set[bytes]:
    stamps = [dict(record.headers)["cemesh-stamp"] for records in written for record in records]
    return {stamp.partition(b".")[0] for stamp in stamps}


async def test_many_that_meet_many_triggers_at_once_agree_in_the_end(
    kafka: str, topic: str
) -> None:
    triggers = [f"default/{number}" for number in range(50)]
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        both = (one, other)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(one.append(50))
            for each in both:
                for trigger in triggers:
                    tasks.create_task(each.beginnings.of(trigger))
        await asyncio.gather(*(each.state.caught_up() for each in both))

        told = [[await each.beginnings.of(trigger) for trigger in triggers] for each in both]

    assert told[0] == told[1]
    async with dispatcher(kafka, topic) as later:
        assert [await later.beginnings.of(trigger) for trigger in triggers] == told[0]


async def test_a_thousand_triggers_at_once_take_few_requests(kafka: str, topic: str) -> None:
    async with dispatcher(kafka, topic) as one:
        await asyncio.gather(*(one.beginnings.of(f"default/{n}") for n in range(1_000)))

        assert (one.offsets.times, one.state.times, len(one.written)) == (2, 2, 2)


async def test_a_partition_that_was_added_later_is_not_among_them(kafka: str, topic: str) -> None:
    async with dispatcher(kafka, topic) as one:
        begins = await one.beginnings.of(TRIGGER)
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
        await admin.start()
        await admin.create_partitions({topic: NewPartitions(total_count=2)})
        await admin.close()

        assert await one.beginnings.of(TRIGGER) == begins == {0: 0}


async def test_a_trigger_that_was_taken_off_is_listed_no_more_until_it_is_back(
    kafka: str, topic: str
) -> None:
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        await one.beginnings.of(TRIGGER)
        await one.beginnings.of("default/else")
        assert sorted(await other.beginnings.triggers()) == [TRIGGER, "default/else"]

        await other.append()
        await other.beginnings.leave(TRIGGER)
        assert await one.beginnings.triggers() == ["default/else"]

        assert await one.beginnings.of(TRIGGER) == {0: 0}
        assert sorted(await other.beginnings.triggers()) == [TRIGGER, "default/else"]


async def test_who_was_never_here_cannot_leave(kafka: str, topic: str) -> None:
    async with dispatcher(kafka, topic) as one:
        await one.beginnings.leave(TRIGGER)

        assert await one.beginnings.triggers() == []
        assert one.written == []


async def test_a_trigger_that_was_forgotten_begins_anew(kafka: str, topic: str) -> None:
    async with dispatcher(kafka, topic) as one, dispatcher(kafka, topic) as other:
        await one.beginnings.of(TRIGGER)
        await one.beginnings.of("default/else")
        await one.append()

        await other.beginnings.forget([TRIGGER])

        assert await one.beginnings.triggers() == ["default/else"]
        assert await one.beginnings.of(TRIGGER) == {0: 1}
        assert await one.beginnings.of("default/else") == {0: 0}


async def test_a_new_trigger_waits_for_kafka_to_be_back(kafka_relay: Relay, topic: str) -> None:
    async with dispatcher(kafka_relay.address, topic) as one:
        with kafka_relay.cut(), pytest.raises(ChannelUnavailable):
            await one.beginnings.of(TRIGGER)

        assert await once_it_is_back(one) == {0: 0}


async def once_it_is_back(it: Dispatcher) -> Mapping[int, int]:
    async with asyncio.timeout(30):
        while True:
            try:
                return await it.beginnings.of(TRIGGER)
            except ChannelUnavailable:  # the producer takes a moment to be back
                await asyncio.sleep(0)
